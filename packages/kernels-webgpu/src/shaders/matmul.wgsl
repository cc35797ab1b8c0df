// Products [m, k] × [k, n] in tiles: TILE_M × TILE_N of the result a workgroup, THREAD_M × THREAD_N of it in the registers of an invocation.
// 2·m·n·k FLOPs; a is read n/TILE_N times, b m/TILE_M times. `product` is in matmul-tiles.wgsl or matmul-subgroups.wgsl.
//
// `VECTOR`: a and b are read four elements at a time; their contiguous axes, strides and offsets are multiples of four then.

struct Params {
  m: u32,
  n: u32,
  k: u32,
  /// Number of the first product of this dispatch.
  firstBatch: u32,
  startA: u32,
  rowStrideA: u32,
  batchStrideA: u32,
  startB: u32,
  rowStrideB: u32,
  batchStrideB: u32,
  startBias: u32,
  startOut: u32,
  startPreActivation: u32,
  /// Of `out` and of `preActivation`.
  rowStrideOut: u32,
  batchStrideOut: u32,
  alpha: f32,
  /// 1: the product is added to what `out` holds.
  accumulate: u32,
  hasBias: u32,
  gelu: u32,
  hasPreActivation: u32,
  /// TILE_K / 4, in a variable, so that compilers do not unroll this loop too.
  tileSteps: u32,
}

@group(0) @binding(0) var<storage, read> a: array<StoredA>;
@group(0) @binding(1) var<storage, read> b: array<StoredB>;
@group(0) @binding(2) var<storage, read> bias: array<BiasElement>;
@group(0) @binding(3) var<storage, read_write> out: array<StoredOut>;
@group(0) @binding(4) var<storage, read_write> preActivation: array<StoredOut>;
@group(1) @binding(0) var<uniform> params: Params;

const THREADS_N = TILE_N / THREAD_N;
const THREADS_M = TILE_M / THREAD_M;
const THREADS = THREADS_M * THREADS_N;
/// Vectors of four columns that an invocation holds, THREADS_N apart.
const VECTORS_N = THREAD_N / 4;

/// Sums of an invocation: THREAD_M rows of VECTORS_N vectors.
alias Sums = array<array<vec4f, VECTORS_N>, THREAD_M>;

/// How many of four elements from `at` on lie before `end`.
fn remaining(at: u32, end: u32) -> u32 {
  return min(4u, end - min(at, end));
}

/// 3. Scale four sums and store those before the last column.
fn store(batch: u32, row: u32, column: u32, sum: vec4f) {
  let valid = remaining(column, params.n);
  if (row >= params.m || valid == 0u) {
    return;
  }
  let at = params.startOut + batch * params.batchStrideOut + row * params.rowStrideOut + column;
  var value = params.alpha * sum;
  if (params.accumulate == 1u) {
    value += loadOut(at, valid);
  }
  storeOut(at, valid, value);
}

/// 3. Scale four sums, add the bias, store, activate, store.
fn storeEpilogue(batch: u32, row: u32, column: u32, sum: vec4f) {
  let valid = remaining(column, params.n);
  if (row >= params.m || valid == 0u) {
    return;
  }
  let at = batch * params.batchStrideOut + row * params.rowStrideOut + column;
  var value = params.alpha * sum;
  if (params.hasBias == 1u) {
    for (var j = 0u; j < valid; j++) {
      value[j] += f32(bias[params.startBias + column + j]);
    }
  }
  if (params.hasPreActivation == 1u) {
    storePreActivation(params.startPreActivation + at, valid, value);
  }
  if (params.gelu == 1u) {
    value = gelu(value);
  }
  storeOut(params.startOut + at, valid, value);
}

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
