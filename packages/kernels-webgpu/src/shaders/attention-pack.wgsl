// Rows of q, k, v or dout as planes of four neighbouring elements: packed[head][plane][row] = row's elements 4·plane … 4·plane + 3, in f32, zeros beyond
// the head dim. Invocations of the kernels own a row each of what is packed, so neighbours read neighbouring vectors whatever the strides were.

struct Params {
  rows: u32,
  /// Rows of a sequence.
  seqlen: u32,
  nHeads: u32,
  headDim: u32,
  planes: u32,
  start: u32,
  batchStride: u32,
  rowStride: u32,
  headStride: u32,
  /// Where in a packed head these planes begin, and how many it has.
  firstPlane: u32,
  planesOfHead: u32,
  grid: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn attentionPack(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = (workgroup.y * params.grid + workgroup.x) * 64u + local;
  let head = workgroup.z;
  if (row >= params.rows) {
    return;
  }
  let begin = params.start + row / params.seqlen * params.batchStride + row % params.seqlen * params.rowStride + head * params.headStride;
  for (var plane = 0u; plane < params.planes; plane++) {
    var values: vec4f;
    for (var e = 0u; e < 4u; e++) {
      let d = 4u * plane + e;
      values[e] = select(0.0, f32(x[begin + min(d, params.headDim - 1u)]), d < params.headDim);
    }
    packed[(head * params.planesOfHead + params.firstPlane + plane) * params.rows + row] = values;
  }
}
