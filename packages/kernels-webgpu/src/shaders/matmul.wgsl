// Products [m, k] × [k, n] in tiles: TILE_M × TILE_N of the result a workgroup, THREAD_M × THREAD_N of it in the registers of an invocation,
// and TILE_K of a and b at a time in workgroup memory. 2·m·n·k FLOPs; a is read n/TILE_N times, b m/TILE_M times.
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
@group(0) @binding(3) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(4) var<storage, read_write> preActivation: array<OutElement>;
@group(1) @binding(0) var<uniform> params: Params;

const THREADS_N = TILE_N / THREAD_N;
const THREADS_M = TILE_M / THREAD_M;
const THREADS = THREADS_M * THREADS_N;
/// Vectors of four columns that an invocation holds, THREADS_N apart.
const VECTORS_N = THREAD_N / 4;

/// [TILE_M][TILE_K / 4]: four neighbours along k.
var<workgroup> tileA: array<vec4f, TILE_M * TILE_K / 4>;
/// [TILE_K][TILE_N / 4]: four neighbours along n.
var<workgroup> tileB: array<vec4f, TILE_K * TILE_N / 4>;

/// Elements `at` … `at + 3` of a row, of which `valid` are there; zeros for the others. (`VectorA(x)` takes one element and four.)
fn loadA(at: u32, valid: u32) -> vec4f {
  if (valid == 0u) {
    return vec4f(0.0);
  }
  if (VECTOR) {
    return vec4f(VectorA(a[at / 4u]));
  }
  var values = vec4f(vec4f(VectorA(a[at])).x, 0.0, 0.0, 0.0);
  for (var i = 1u; i < valid; i++) {
    values[i] = vec4f(VectorA(a[at + i])).x;
  }
  return values;
}

fn loadB(at: u32, valid: u32) -> vec4f {
  if (valid == 0u) {
    return vec4f(0.0);
  }
  if (VECTOR) {
    return vec4f(VectorB(b[at / 4u]));
  }
  var values = vec4f(vec4f(VectorB(b[at])).x, 0.0, 0.0, 0.0);
  for (var i = 1u; i < valid; i++) {
    values[i] = vec4f(VectorB(b[at + i])).x;
  }
  return values;
}

/// How many of four elements from `at` on lie before `end`.
fn remaining(at: u32, end: u32) -> u32 {
  return min(4u, end - min(at, end));
}

/// 1. Stage rows mStart … of a, columns kStart … of them.
fn stageA(base: u32, mStart: u32, kStart: u32, local: u32) {
  for (var i = local; i < TILE_M * TILE_K / 4; i += THREADS) {
    if (TRANSPOSE_A) {
      // a [k, m]: four neighbours along m
      let row = i / (TILE_M / 4);
      let column = 4u * (i % (TILE_M / 4));
      let valid = select(0u, remaining(mStart + column, params.m), kStart + row < params.k);
      let values = loadA(base + (kStart + row) * params.rowStrideA + mStart + column, valid);
      for (var j = 0u; j < 4u; j++) {
        tileA[(column + j) * (TILE_K / 4) + row / 4u][row % 4u] = values[j];
      }
    } else {
      let row = i / (TILE_K / 4);
      let column = 4u * (i % (TILE_K / 4));
      let valid = select(0u, remaining(kStart + column, params.k), mStart + row < params.m);
      tileA[i] = loadA(base + (mStart + row) * params.rowStrideA + kStart + column, valid);
    }
  }
}

/// 1. Stage rows kStart … of b, columns nStart … of them.
fn stageB(base: u32, kStart: u32, nStart: u32, local: u32) {
  for (var i = local; i < TILE_K * TILE_N / 4; i += THREADS) {
    if (TRANSPOSE_B) {
      // b [n, k]: four neighbours along k
      let row = i / (TILE_K / 4);
      let column = 4u * (i % (TILE_K / 4));
      let valid = select(0u, remaining(kStart + column, params.k), nStart + row < params.n);
      let values = loadB(base + (nStart + row) * params.rowStrideB + kStart + column, valid);
      for (var j = 0u; j < 4u; j++) {
        tileB[(column + j) * (TILE_N / 4) + row / 4u][row % 4u] = values[j];
      }
    } else {
      let row = i / (TILE_N / 4);
      let column = 4u * (i % (TILE_N / 4));
      let valid = select(0u, remaining(nStart + column, params.n), kStart + row < params.k);
      tileB[i] = loadB(base + (kStart + row) * params.rowStrideB + nStart + column, valid);
    }
  }
}

/// Sums of an invocation: THREAD_M rows of VECTORS_N vectors.
alias Sums = array<array<vec4f, VECTORS_N>, THREAD_M>;

fn product(batch: u32, mStart: u32, nStart: u32, local: u32) -> Sums {
  let threadM = local / THREADS_N;
  let threadN = local % THREADS_N;
  let baseA = params.startA + batch * params.batchStrideA;
  let baseB = params.startB + batch * params.batchStrideB;
  var sums: Sums;
  for (var kStart = 0u; kStart < params.k; kStart += TILE_K) {
    stageA(baseA, mStart, kStart, local);
    stageB(baseB, kStart, nStart, local);
    workgroupBarrier();
    // 2. multiply the tiles, four steps of k at a time
    for (var k4 = 0u; k4 < params.tileSteps; k4++) {
      var columns: array<array<vec4f, VECTORS_N>, 4>;
      for (var j = 0u; j < 4u; j++) {
        for (var v = 0u; v < VECTORS_N; v++) {
          columns[j][v] = tileB[(4u * k4 + j) * (TILE_N / 4) + v * THREADS_N + threadN];
        }
      }
      for (var i = 0u; i < THREAD_M; i++) {
        let row = tileA[(threadM * THREAD_M + i) * (TILE_K / 4) + k4];
        for (var v = 0u; v < VECTORS_N; v++) {
          var sum = sums[i][v];
          sum = fma(vec4f(row.x), columns[0][v], sum);
          sum = fma(vec4f(row.y), columns[1][v], sum);
          sum = fma(vec4f(row.z), columns[2][v], sum);
          sums[i][v] = fma(vec4f(row.w), columns[3][v], sum);
        }
      }
    }
    workgroupBarrier();
  }
  return sums;
}

@compute @workgroup_size(THREADS)
fn matmul(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let batch = params.firstBatch + workgroup.z;
  let mStart = workgroup.y * TILE_M;
  let nStart = workgroup.x * TILE_N;
  let sums = product(batch, mStart, nStart, local);
  // 3. scale and store
  for (var i = 0u; i < THREAD_M; i++) {
    let row = mStart + local / THREADS_N * THREAD_M + i;
    if (row >= params.m) {
      break;
    }
    for (var j = 0u; j < THREAD_N; j++) {
      let column = nStart + 4u * (j / 4u * THREADS_N + local % THREADS_N) + j % 4u;
      if (column < params.n) {
        let at = params.startOut + (batch * params.m + row) * params.n + column;
        var value = params.alpha * sums[i][j / 4u][j % 4u];
        if (params.accumulate == 1u) {
          value += f32(out[at]);
        }
        out[at] = OutElement(value);
      }
    }
  }
}

/// With bias and activation.
@compute @workgroup_size(THREADS)
fn matmulEpilogue(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let batch = params.firstBatch + workgroup.z;
  let mStart = workgroup.y * TILE_M;
  let nStart = workgroup.x * TILE_N;
  let sums = product(batch, mStart, nStart, local);
  // 3. scale, add the bias, store, activate, store
  for (var i = 0u; i < THREAD_M; i++) {
    let row = mStart + local / THREADS_N * THREAD_M + i;
    if (row >= params.m) {
      break;
    }
    for (var j = 0u; j < THREAD_N; j++) {
      let column = nStart + 4u * (j / 4u * THREADS_N + local % THREADS_N) + j % 4u;
      if (column < params.n) {
        let at = (batch * params.m + row) * params.n + column;
        var value = params.alpha * sums[i][j / 4u][j % 4u];
        if (params.hasBias == 1u) {
          value += f32(bias[params.startBias + column]);
        }
        if (params.hasPreActivation == 1u) {
          preActivation[params.startPreActivation + at] = OutElement(value);
        }
        if (params.gelu == 1u) {
          value = gelu(value);
        }
        out[params.startOut + at] = OutElement(value);
      }
    }
  }
}
