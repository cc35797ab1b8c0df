// Entry points of matmul.wgsl on subgroup matrices. Nested tiling: TILE_K of the tile's rows of a and columns of b lie in workgroup memory, in Operand and as
// memory has them, transposed or not; each of four subgroups owns a quarter of the tile, as matrices in registers; sums go through workgroup memory, a matrix of
// each subgroup at a time, to invocations that scale, activate and store them.

const OWNERS_M = 2;
const OWNERS_N = 2;
const OWNERS = OWNERS_M * OWNERS_N;
/// The part of a subgroup, and the matrices in it.
const PART_M = TILE_M / OWNERS_M;
const PART_N = TILE_N / OWNERS_N;
const MATRICES_M = PART_M / MATRIX_M;
const MATRICES_N = PART_N / MATRIX_N;

/// a's tile, [TILE_M][TILE_K] or transposed, in vectors of four. Rows are PADDING vectors (16 bytes) longer, so that they begin in different banks.
const ROWS_A = select(TILE_M, TILE_K, TRANSPOSE_A);
const VECTORS_A = select(TILE_K, TILE_M, TRANSPOSE_A) / 4;
const STRIDE_A = VECTORS_A + PADDING;
/// b's tile, [TILE_K][TILE_N] or transposed, after it.
const BEGIN_B = ROWS_A * STRIDE_A;
const ROWS_B = select(TILE_K, TILE_N, TRANSPOSE_B);
const VECTORS_B = select(TILE_N, TILE_K, TRANSPOSE_B) / 4;
const STRIDE_B = VECTORS_B + PADDING;
const OPERANDS = BEGIN_B + ROWS_B * STRIDE_B;

/// A matrix of each subgroup.
const VECTORS_OF_RESULT = MATRIX_M * MATRIX_N / 4;
const SUMS = OWNERS * VECTORS_OF_RESULT;

alias Results = array<ResultMatrix, MATRICES_M * MATRICES_N>;

/// 1. Stage rows mStart … of a, columns kStart … of them.
fn stageA(base: u32, mStart: u32, kStart: u32, local: u32) {
  for (var i = local; i < ROWS_A * VECTORS_A; i += WORKGROUP) {
    let row = i / VECTORS_A;
    let column = 4u * (i % VECTORS_A);
    var values = vec4f();
    if (TRANSPOSE_A) {
      let valid = select(0u, remaining(mStart + column, params.m), kStart + row < params.k);
      values = loadA(base + (kStart + row) * params.rowStrideA + mStart + column, valid);
    } else {
      let valid = select(0u, remaining(kStart + column, params.k), mStart + row < params.m);
      values = loadA(base + (mStart + row) * params.rowStrideA + kStart + column, valid);
    }
    operands[row * STRIDE_A + i % VECTORS_A] = vec4<Operand>(values);
  }
}

/// 1. Stage rows kStart … of b, columns nStart … of them.
fn stageB(base: u32, kStart: u32, nStart: u32, local: u32) {
  for (var i = local; i < ROWS_B * VECTORS_B; i += WORKGROUP) {
    let row = i / VECTORS_B;
    let column = 4u * (i % VECTORS_B);
    var values = vec4f();
    if (TRANSPOSE_B) {
      let valid = select(0u, remaining(kStart + column, params.k), nStart + row < params.n);
      values = loadB(base + (nStart + row) * params.rowStrideB + kStart + column, valid);
    } else {
      let valid = select(0u, remaining(nStart + column, params.n), kStart + row < params.k);
      values = loadB(base + (kStart + row) * params.rowStrideB + nStart + column, valid);
    }
    operands[BEGIN_B + row * STRIDE_B + i % VECTORS_B] = vec4<Operand>(values);
  }
}

/// Rows row … of a's tile, columns k … of them.
fn leftOf(row: u32, k: u32) -> LeftMatrix {
  if (TRANSPOSE_A) {
    return leftMatrixOfColumns(k * STRIDE_A + row / 4u, STRIDE_A);
  }
  return leftMatrix(row * STRIDE_A + k / 4u, STRIDE_A);
}

/// Rows k … of b's tile, columns column … of them.
fn rightOf(k: u32, column: u32) -> RightMatrix {
  if (TRANSPOSE_B) {
    return rightMatrixOfColumns(BEGIN_B + column * STRIDE_B + k / 4u, STRIDE_B);
  }
  return rightMatrix(BEGIN_B + k * STRIDE_B + column / 4u, STRIDE_B);
}

/// Adds to `results`, an owner's part of a·b.
fn addProduct(results: ptr<function, Results>, batch: u32, tile: vec2u, local: u32, subgroup: u32) {
  let baseA = params.startA + batch * params.batchStrideA;
  let baseB = params.startB + batch * params.batchStrideB;
  let part = vec2u(subgroup / OWNERS_N * PART_M, subgroup % OWNERS_N * PART_N);
  for (var kStart = 0u; kStart < params.k; kStart += TILE_K) {
    stageA(baseA, tile.x, kStart, local);
    stageB(baseB, kStart, tile.y, local);
    workgroupBarrier();
    // 2. multiply the tiles
    if (subgroup < OWNERS) {
      for (var k = 0u; k < times(TILE_K); k += MATRIX_K) {
        var lefts = array<LeftMatrix, MATRICES_M>();
        for (var i = 0u; i < times(MATRICES_M); i++) {
          lefts[i] = leftOf(part.x + i * MATRIX_M, k);
        }
        for (var j = 0u; j < times(MATRICES_N); j++) {
          let right = rightOf(k, part.y + j * MATRIX_N);
          for (var i = 0u; i < times(MATRICES_M); i++) {
            (*results)[i * MATRICES_N + j] = multiplyAdd(lefts[i], right, (*results)[i * MATRICES_N + j]);
          }
        }
      }
    }
    workgroupBarrier();
  }
}

/// Where vector `at` of sums belongs, when they hold matrix `number` of each subgroup: the row and the first column in the tile.
fn positionOf(at: u32, number: u32) -> vec2u {
  let subgroup = at / VECTORS_OF_RESULT;
  let row = at % VECTORS_OF_RESULT / (MATRIX_N / 4);
  let column = 4u * (at % (MATRIX_N / 4));
  return vec2u(
    subgroup / OWNERS_N * PART_M + number / MATRICES_N * MATRIX_M + row,
    subgroup % OWNERS_N * PART_N + number % MATRICES_N * MATRIX_N + column,
  );
}

@compute @workgroup_size(WORKGROUP)
fn matmul(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroupId: u32,
) {
  let subgroup = enterSubgroup(local, subgroupId);
  let batch = params.firstBatch + workgroup.z;
  let tile = vec2u(workgroup.y * TILE_M, workgroup.x * TILE_N);
  var results = Results();
  addProduct(&results, batch, tile, local, subgroup);
  for (var number = 0u; number < timesTogether(MATRICES_M * MATRICES_N); number++) {
    if (subgroup < OWNERS) {
      storeResult(subgroup * VECTORS_OF_RESULT, MATRIX_N / 4, results[number]);
    }
    workgroupBarrier();
    for (var i = local; i < SUMS; i += WORKGROUP) {
      let at = tile + positionOf(i, number);
      store(batch, at.x, at.y, sums[i]);
    }
    workgroupBarrier();
  }
}

/// With bias and activation.
@compute @workgroup_size(WORKGROUP)
fn matmulEpilogue(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroupId: u32,
) {
  let subgroup = enterSubgroup(local, subgroupId);
  let batch = params.firstBatch + workgroup.z;
  let tile = vec2u(workgroup.y * TILE_M, workgroup.x * TILE_N);
  var results = Results();
  addProduct(&results, batch, tile, local, subgroup);
  for (var number = 0u; number < timesTogether(MATRICES_M * MATRICES_N); number++) {
    if (subgroup < OWNERS) {
      storeResult(subgroup * VECTORS_OF_RESULT, MATRIX_N / 4, results[number]);
    }
    workgroupBarrier();
    for (var i = local; i < SUMS; i += WORKGROUP) {
      let at = tile + positionOf(i, number);
      storeEpilogue(batch, at.x, at.y, sums[i]);
    }
    workgroupBarrier();
  }
}
