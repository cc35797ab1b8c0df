// Layer norm over the last axis, a workgroup a row: x [rows, columns] → out, mean and rstd [rows].

struct Params {
  rows: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
  startDout: u32,
  strideDout: u32,
  startWeight: u32,
  startBias: u32,
  startMean: u32,
  startRstd: u32,
  /// Rows of one part of the sums over rows.
  partRows: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> weight: array<Element>;
@group(0) @binding(2) var<storage, read> bias: array<Element>;
@group(0) @binding(3) var<storage, read> dout: array<Element>;
/// Forward the result, backward dx.
@group(0) @binding(4) var<storage, read_write> out: array<Element>;
@group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> rstd: array<f32>;
/// [parts, 2, columns]: sums over rows of dout·x̂ and of dout.
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn layerNormForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let base = params.startX + row * params.strideX;
  let count = f32(params.columns);
  // 1. the mean
  var sum = 0.0;
  for (var j = local; j < params.columns; j += WORKGROUP) {
    sum += f32(x[base + j]);
  }
  let mu = sumOverWorkgroup(local, sum) / count;
  // 2. the variance around it
  var squares = 0.0;
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let centred = f32(x[base + j]) - mu;
    squares += centred * centred;
  }
  let factor = 1.0 / sqrt(sumOverWorkgroup(local, squares) / count + params.eps);
  // 3. the row
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let normalised = (f32(x[base + j]) - mu) * factor;
    out[row * params.columns + j] = Element(normalised * f32(weight[params.startWeight + j]) + f32(bias[params.startBias + j]));
  }
  if (local == 0u) {
    mean[row] = mu;
    rstd[row] = factor;
  }
}

/// dx = rstd·(dx̂ − mean(dx̂) − x̂·mean(dx̂·x̂))
@compute @workgroup_size(WORKGROUP)
fn layerNormBackward(
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
  let mu = mean[params.startMean + row];
  let factor = rstd[params.startRstd + row];
  var sum = 0.0;
  var product = 0.0;
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let dnormalised = f32(dout[fromDout + j]) * f32(weight[params.startWeight + j]);
    sum += dnormalised;
    product += dnormalised * ((f32(x[base + j]) - mu) * factor);
  }
  let meanOfSum = sumOverWorkgroup(local, sum) / f32(params.columns);
  let meanOfProduct = sumOverWorkgroup(local, product) / f32(params.columns);
  for (var j = local; j < params.columns; j += WORKGROUP) {
    let normalised = (f32(x[base + j]) - mu) * factor;
    let dnormalised = f32(dout[fromDout + j]) * f32(weight[params.startWeight + j]);
    out[row * params.columns + j] = Element(factor * (dnormalised - meanOfSum - normalised * meanOfProduct));
  }
}

/// Sums of part workgroup.y of the rows, a column an invocation.
@compute @workgroup_size(WORKGROUP)
fn layerNormBackwardParts(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let j = workgroup.x * WORKGROUP + local;
  if (j >= params.columns) {
    return;
  }
  let first = workgroup.y * params.partRows;
  let end = min(first + params.partRows, params.rows);
  var dweight = 0.0;
  var dbias = 0.0;
  for (var row = first; row < end; row++) {
    let g = f32(dout[params.startDout + row * params.strideDout + j]);
    let normalised = (f32(x[params.startX + row * params.strideX + j]) - mean[params.startMean + row]) * rstd[params.startRstd + row];
    dweight += g * normalised;
    dbias += g;
  }
  partial[2u * workgroup.y * params.columns + j] = dweight;
  partial[(2u * workgroup.y + 1u) * params.columns + j] = dbias;
}
