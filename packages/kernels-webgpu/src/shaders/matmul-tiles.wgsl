// The product of matmul.wgsl by way of workgroup memory, TILE_K of a and b at a time.

/// [TILE_M][TILE_K / 4]: four neighbours along k.
var<workgroup> tileA: array<vec4f, TILE_M * TILE_K / 4>;
/// [TILE_K][TILE_N / 4]: four neighbours along n.
var<workgroup> tileB: array<vec4f, TILE_K * TILE_N / 4>;

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
