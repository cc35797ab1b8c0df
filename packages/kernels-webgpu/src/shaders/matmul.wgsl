// Products [m, k] × [k, n] in tiles, TILE_M × TILE_N of the result a workgroup. 2·m·n·k FLOPs; a is read n/TILE_N times, b m/TILE_M times. Here is what is
// multiplied, and what becomes of sums; entry points are in matmul-registers.wgsl and matmul-subgroup-matrix.wgsl.
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
