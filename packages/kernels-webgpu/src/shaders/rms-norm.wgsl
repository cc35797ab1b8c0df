// RMS norm over the last axis, a workgroup a row: x [rows, columns] → out, rstd [rows].

struct Params {
  rows: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
  startDout: u32,
  strideDout: u32,
  startWeight: u32,
  startRstd: u32,
  /// Rows of one part of the sums over rows.
  partRows: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> weight: array<Element>;
@group(0) @binding(2) var<storage, read> dout: array<Element>;
/// Forward the result, backward dx.
@group(0) @binding(3) var<storage, read_write> out: array<Element>;
@group(0) @binding(4) var<storage, read_write> rstd: array<f32>;
/// [parts, columns]: sums over rows of dout·x̂.
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn rmsNormForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let base = params.startX + row * params.strideX;
  var squares = 0.0;
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let v = f32(x[base + j]);
    squares += v * v;
  }
  let factor = 1.0 / sqrt(sumOverWorkgroup(local, squares) / f32(params.columns) + params.eps);
  for (var j = local; j < params.columns; j += WORKGROUP) {
    out[row * params.columns + j] = Element(f32(x[base + j]) * factor * f32(weight[params.startWeight + j]));
  }
  if (local == 0u) {
    rstd[row] = factor;
  }
}

/// dx = rstd·(dx̂ − x̂·mean(dx̂·x̂))
@compute @workgroup_size(WORKGROUP)
fn rmsNormBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let base = params.startX + row * params.strideX;
  let fromDout = params.startDout + row * params.strideDout;
  let factor = rstd[params.startRstd + row];
  var product = 0.0;
  for (var j = local; j < params.columns; j += WORKGROUP) {
    product += f32(dout[fromDout + j]) * f32(weight[params.startWeight + j]) * (f32(x[base + j]) * factor);
  }
  let meanOfProduct = sumOverWorkgroup(local, product) / f32(params.columns);
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let dnormalised = f32(dout[fromDout + j]) * f32(weight[params.startWeight + j]);
    out[row * params.columns + j] = Element(factor * (dnormalised - f32(x[base + j]) * factor * meanOfProduct));
  }
}

/// Sums of part workgroup.y of the rows, a column an invocation.
@compute @workgroup_size(WORKGROUP)
fn rmsNormBackwardParts(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let j = workgroup.x * WORKGROUP + local;
  if (j >= params.columns) {
    return;
  }
  let first = workgroup.y * params.partRows;
  let end = min(first + params.partRows, params.rows);
  var dweight = 0.0;
  for (var row = first; row < end; row++) {
    let g = f32(dout[params.startDout + row * params.strideDout + j]);
    dweight += g * (f32(x[params.startX + row * params.strideX + j]) * rstd[params.startRstd + row]);
  }
  partial[workgroup.y * params.columns + j] = dweight;
}
