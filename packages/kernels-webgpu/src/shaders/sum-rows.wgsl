// Sums over rows in two steps: of parts of the rows, a column an invocation, and of the parts, in their order.

struct Params {
  rows: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
  /// Rows of one part.
  partRows: u32,
  startPartial: u32,
  stridePartial: u32,
  parts: u32,
  startOut: u32,
  /// 1: the sum is added to what `out` holds.
  accumulate: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<Target>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn sumRows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let j = workgroup.x * WORKGROUP + local;
  if (j >= params.columns) {
    return;
  }
  let first = workgroup.y * params.partRows;
  let end = min(first + params.partRows, params.rows);
  var sum = 0.0;
  for (var row = first; row < end; row++) {
    sum += f32(x[params.startX + row * params.strideX + j]);
  }
  partial[params.startPartial + workgroup.y * params.stridePartial + j] = sum;
}

@compute @workgroup_size(WORKGROUP)
fn addParts(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let j = (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local;
  if (j >= params.columns) {
    return;
  }
  var sum = 0.0;
  for (var part = 0u; part < params.parts; part++) {
    sum += partial[params.startPartial + part * params.stridePartial + j];
  }
  if (params.accumulate == 1u) {
    sum += f32(out[params.startOut + j]);
  }
  out[params.startOut + j] = Target(sum);
}
