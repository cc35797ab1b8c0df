// Σ x² in two steps: of a block of elements a workgroup, and of the blocks.

struct Params {
  count: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
  /// Elements of one workgroup.
  block: u32,
  blocks: u32,
  /// Number of the first block of this dispatch among all.
  firstBlock: u32,
  startOut: u32,
  /// 1: the sum is added to what `out` holds.
  accumulate: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn sumSquares(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = workgroup.y * workgroups.x + workgroup.x;
  if (block >= params.blocks) {
    return;
  }
  let end = min((block + 1u) * params.block, params.count);
  var sum = 0.0;
  for (var i = block * params.block + local; i < end; i += WORKGROUP) {
    let v = f32(x[params.startX + (i / params.columns) * params.strideX + i % params.columns]);
    sum += v * v;
  }
  let total = sumOverWorkgroup(local, sum);
  if (local == 0u) {
    partial[params.firstBlock + block] = total;
  }
}

/// One workgroup.
@compute @workgroup_size(WORKGROUP)
fn sumBlocks(@builtin(local_invocation_index) local: u32) {
  var sum = 0.0;
  for (var i = local; i < params.blocks; i += WORKGROUP) {
    sum += partial[i];
  }
  let total = sumOverWorkgroup(local, sum);
  if (local == 0u) {
    out[params.startOut] = select(0.0, out[params.startOut], params.accumulate == 1u) + total;
  }
}
