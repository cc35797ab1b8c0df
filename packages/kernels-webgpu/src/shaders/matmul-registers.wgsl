// Entry points of matmul.wgsl with sums in registers: THREAD_M × THREAD_N of them an invocation. `product` is in matmul-tiles.wgsl or matmul-subgroups.wgsl.

const THREADS_N = TILE_N / THREAD_N;
const THREADS_M = TILE_M / THREAD_M;
const THREADS = THREADS_M * THREADS_N;
/// Vectors of four columns that an invocation holds, THREADS_N apart.
const VECTORS_N = THREAD_N / 4;

/// Sums of an invocation: THREAD_M rows of VECTORS_N vectors.
alias Sums = array<array<vec4f, VECTORS_N>, THREAD_M>;

/// The row and the first column of a vector of an invocation's sums, within its tile.
fn positionOf(local: u32, i: u32, v: u32) -> vec2u {
  return vec2u(local / THREADS_N * THREAD_M + i, 4u * (v * THREADS_N + local % THREADS_N));
}

@compute @workgroup_size(THREADS)
fn matmul(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let batch = params.firstBatch + workgroup.z;
  let tile = vec2u(workgroup.y * TILE_M, workgroup.x * TILE_N);
  var sums = product(batch, tile.x, tile.y, local);
  for (var i = 0u; i < THREAD_M; i++) {
    for (var v = 0u; v < VECTORS_N; v++) {
      let at = tile + positionOf(local, i, v);
      store(batch, at.x, at.y, sums[i][v]);
    }
  }
}

/// With bias and activation.
@compute @workgroup_size(THREADS)
fn matmulEpilogue(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let batch = params.firstBatch + workgroup.z;
  let tile = vec2u(workgroup.y * TILE_M, workgroup.x * TILE_N);
  var sums = product(batch, tile.x, tile.y, local);
  for (var i = 0u; i < THREAD_M; i++) {
    for (var v = 0u; v < VECTORS_N; v++) {
      let at = tile + positionOf(local, i, v);
      storeEpilogue(batch, at.x, at.y, sums[i][v]);
    }
  }
}
