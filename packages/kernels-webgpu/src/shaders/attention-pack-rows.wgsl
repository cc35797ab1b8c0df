// Rows of q, k, v or dout in f32, zeros beyond the head dim, in vectors of four neighbouring elements: what kernels read by lanes, whatever strides and
// dtypes were; and the way back for gradients that were summed in such rows.

struct Params {
  rows: u32,
  /// Rows of a sequence.
  seqlen: u32,
  headDim: u32,
  /// Of x, or of dx.
  start: u32,
  batchStride: u32,
  rowStride: u32,
  headStride: u32,
  /// Vectors of a row of x, those from row to row and from head to head of what is packed, and where its first row begins.
  vectors: u32,
  rowVectors: u32,
  headVectors: u32,
  firstVector: u32,
  /// What sums are multiplied by.
  factor: f32,
  grid: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec4f>;
@group(0) @binding(2) var<storage, read> sums: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> dx: array<Element>;
/// x and dx in vectors, where they are whole ones.
@group(0) @binding(4) var<storage, read> vectors: array<vec4<Element>>;
@group(0) @binding(5) var<storage, read_write> dvectors: array<vec4<Element>>;
@group(1) @binding(0) var<uniform> params: Params;

/// Row and vector of an invocation, neighbours having neighbouring vectors; the row is params.rows or more for those beyond the end.
fn placeOf(workgroup: vec3u, local: u32) -> vec2u {
  let id = (workgroup.y * params.grid + workgroup.x) * 64u + local;
  return vec2u(id / params.vectors, id % params.vectors);
}

fn packedAt(place: vec2u, head: u32) -> u32 {
  return params.firstVector + head * params.headVectors + place.x * params.rowVectors + place.y;
}

fn elementAt(row: u32, head: u32) -> u32 {
  return params.start + row / params.seqlen * params.batchStride + row % params.seqlen * params.rowStride + head * params.headStride;
}

@compute @workgroup_size(64)
fn attentionPackRows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let place = placeOf(workgroup, local);
  if (place.x >= params.rows) {
    return;
  }
  let begin = elementAt(place.x, workgroup.z);
  let d = 4u * place.y + vec4u(0u, 1u, 2u, 3u);
  let at = begin + min(d, vec4u(params.headDim - 1u));
  let values = vec4f(f32(x[at.x]), f32(x[at.y]), f32(x[at.z]), f32(x[at.w]));
  packed[packedAt(place, workgroup.z)] = select(vec4f(0.0), values, d < vec4u(params.headDim));
}

@compute @workgroup_size(64)
fn attentionUnpackRows(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let place = placeOf(workgroup, local);
  if (place.x >= params.rows) {
    return;
  }
  let values = params.factor * sums[packedAt(place, workgroup.z)];
  let at = elementAt(place.x, workgroup.z) + 4u * place.y;
  let count = min(4u, params.headDim - min(params.headDim, 4u * place.y));
  for (var e = 0u; e < count; e++) {
    dx[at + e] = Element(values[e]);
  }
}

// The same where x, or dx, and what is packed are contiguous vectors in one order: nothing is divided. Each workgroup has params.vectors·64 of params.rows vectors,
// from vector params.start of x on: what adapters in software spend on a workgroup takes as long as copying several vectors.

fn firstVector(workgroup: vec3u, local: u32) -> u32 {
  return (workgroup.y * params.grid + workgroup.x) * 64u * params.vectors + local;
}

@compute @workgroup_size(64)
fn attentionPackVectors(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = firstVector(workgroup, local);
  for (var i = begin; i < min(begin + 64u * params.vectors, params.rows); i += 64u) {
    packed[i] = vec4f(vectors[params.start + i]);
  }
}

@compute @workgroup_size(64)
fn attentionUnpackVectors(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let begin = firstVector(workgroup, local);
  for (var i = begin; i < min(begin + 64u * params.vectors, params.rows); i += 64u) {
    dvectors[params.start + i] = vec4<Element>(params.factor * sums[i]);
  }
}
