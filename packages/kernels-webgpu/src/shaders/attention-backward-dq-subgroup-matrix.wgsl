// attention-backward-dq.wgsl on subgroup matrices (subgroup-matrix.wgsl): the same numbered steps. A workgroup owns BLOCK_M query rows, each of four subgroups 16 of
// them, whose Q and dout, as left matrices, and dQ, as results, stay in registers. BLOCK keys at a time, K and V lie in workgroup memory as right matrices. S and
// dP go through workgroup memory to invocations that own a piece of a row each, and come back as dS, the left matrices of dQ += dS·K.

@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;
/// [Hq][totalQ][planes], without the softmax scale.
@group(0) @binding(4) var<storage, read_write> dqSums: array<vec4f>;
/// [B, Hq, nMBlocks]: −Σ distance·dS of each workgroup.
@group(0) @binding(5) var<storage, read_write> dslopes: array<f32>;

/// Subgroups that own rows, ROWS_OF_OWNER each.
const OWNERS = 4;
const BLOCK_M = OWNERS * ROWS_OF_OWNER;
/// Matrices along an owner's rows, head dims as depth, keys as columns and as depth, and head dims as columns.
const ROW_MATRICES = ROWS_OF_OWNER / MATRIX_M;
const DEPTH_MATRICES = HEAD_DIM / MATRIX_K;
const KEY_MATRICES = BLOCK / MATRIX_N;
const STEP_MATRICES = BLOCK / MATRIX_K;
const COLUMN_MATRICES = HEAD_DIM / MATRIX_N;

/// operands: K and V [BLOCK][HEAD_DIM], dS [BLOCK_M][BLOCK], in vectors of four, rows PADDING vectors longer. In dS's place also BLOCK columns of Q or dout.
const HEAD_VECTORS = HEAD_DIM / 4;
const HEAD_STRIDE = HEAD_VECTORS + PADDING;
const KEY_VECTORS = BLOCK / 4;
const DS_STRIDE = KEY_VECTORS + PADDING;
const BEGIN_V = BLOCK * HEAD_STRIDE;
const BEGIN_DS = 2 * BEGIN_V;
const OPERANDS = BEGIN_DS + BLOCK_M * DS_STRIDE;
/// sums: S and dP [BLOCK_M][BLOCK], or as many columns of dQ.
const S_STRIDE = KEY_VECTORS + 1;
const BEGIN_DP = BLOCK_M * S_STRIDE;
const SUMS = 2 * BEGIN_DP;
const CHUNKS = HEAD_DIM / BLOCK;
const COLUMNS_OF_CHUNK = COLUMN_MATRICES / CHUNKS;

/// Invocations that share a row, and vectors of four pairs that each has.
const SEGMENTS = WORKGROUP / BLOCK_M;
const QUADS = KEY_VECTORS / SEGMENTS;

var<workgroup> partials: array<f32, WORKGROUP>;

alias LeftTile = array<LeftMatrix, ROW_MATRICES * DEPTH_MATRICES>;

/// Vectors of a row of packedQ: q, dout, and lse, delta and slope.
fn rowVectorsQ() -> u32 {
  return 2u * params.planes + 1u;
}

/// The tile of vectors first … of this workgroup's rows, as an owner's left matrices. `head` is the first vector of the sequence's first row.
fn loadRows(tile: ptr<function, LeftTile>, head: u32, first: u32, rowBegin: i32, seqlenQ: i32, local: u32, subgroup: u32) {
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    for (var at = local; at < BLOCK_M * KEY_VECTORS; at += WORKGROUP) {
      let row = rowBegin + i32(at / KEY_VECTORS);
      let plane = chunk * KEY_VECTORS + at % KEY_VECTORS;
      var values = vec4f(0.0);
      if (row < seqlenQ && plane < params.planes) {
        values = packedQ[head + u32(row) * rowVectorsQ() + first + plane];
      }
      operands[BEGIN_DS + at / KEY_VECTORS * DS_STRIDE + at % KEY_VECTORS] = vec4<Operand>(values);
    }
    workgroupBarrier();
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(ROW_MATRICES); r++) {
        for (var d = 0u; d < times(STEP_MATRICES); d++) {
          let row = subgroup * ROWS_OF_OWNER + r * MATRIX_M;
          (*tile)[r * DEPTH_MATRICES + chunk * STEP_MATRICES + d] = leftMatrix(BEGIN_DS + row * DS_STRIDE + d * (MATRIX_K / 4), DS_STRIDE);
        }
      }
    }
    workgroupBarrier();
  }
}

/// Vectors first … of keys keyBegin …, to vector `begin` of operands; zeros from keyEnd on.
fn stageKeys(begin: u32, head: u32, first: u32, keyBegin: i32, keyEnd: i32, local: u32) {
  for (var at = local; at < BLOCK * HEAD_VECTORS; at += WORKGROUP) {
    let key = keyBegin + i32(at / HEAD_VECTORS);
    let plane = at % HEAD_VECTORS;
    var values = vec4f(0.0);
    if (key < keyEnd && plane < params.planes) {
      values = packedK[head + u32(key) * 2u * params.planes + first + plane];
    }
    operands[begin + at / HEAD_VECTORS * HEAD_STRIDE + plane] = vec4<Operand>(values);
  }
}

/// Where in sums matrix `column` begins, of an owner's matrix `r` along its rows.
fn placeOf(owner: u32, r: u32, column: u32) -> u32 {
  return (owner * ROWS_OF_OWNER + r * MATRIX_M) * S_STRIDE + column * (MATRIX_N / 4);
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDq(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroupId: u32,
) {
  let subgroup = enterSubgroup(local, subgroupId);
  let b = params.firstBatch + workgroup.z;
  let h = workgroup.y;
  let hk = h / params.groupSize;
  let sequence = sequenceOf(b);
  let mBlock = params.nMBlocks - 1u - workgroup.x;
  let rowBegin = i32(mBlock * BLOCK_M);
  let rowEnd = rowBegin + BLOCK_M;
  let place = (b * params.nHeads + h) * params.nMBlocks + mBlock;
  if (rowBegin >= sequence.seqlenQ) {
    if (local == 0u) {
      dslopes[place] = 0.0;
    }
    return;
  }
  // 2. load the Q and dout tiles, which stay
  let qHead = (h * params.totalQ + u32(sequence.beginQ)) * rowVectorsQ();
  var qTile: LeftTile;
  loadRows(&qTile, qHead, 0u, rowBegin, sequence.seqlenQ, local, subgroup);
  var doutTile: LeftTile;
  loadRows(&doutTile, qHead, params.planes, rowBegin, sequence.seqlenQ, local, subgroup);
  // This invocation's row, and its share of that row's keys.
  let row = local / SEGMENTS;
  let segment = local % SEGMENTS;
  let i = vec4i(rowBegin + i32(row));
  let stats = packedQ[qHead + u32(min(i.x, sequence.seqlenQ - 1)) * rowVectorsQ() + 2u * params.planes];
  let head = scoreHead(b, h, sequence, stats.z);

  let kHead = (hk * params.totalK + u32(sequence.beginK)) * 2u * params.planes;
  var dqSum = array<ResultMatrix, ROW_MATRICES * COLUMN_MATRICES>();
  var dslope = 0.0;
  let visited = visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ));
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK) {
      // 1. load the K and V tiles
      stageKeys(0u, kHead, 0u, keyBegin, run.end, local);
      stageKeys(BEGIN_V, kHead, params.planes, keyBegin, run.end, local);
      workgroupBarrier();
      // 3. S = q·kᵀ, 4. dP = dout·vᵀ
      if (subgroup < OWNERS) {
        for (var n = 0u; n < times(KEY_MATRICES); n++) {
          var s = array<ResultMatrix, ROW_MATRICES>();
          var dp = array<ResultMatrix, ROW_MATRICES>();
          for (var d = 0u; d < times(DEPTH_MATRICES); d++) {
            let at = n * MATRIX_N * HEAD_STRIDE + d * (MATRIX_K / 4);
            let keys = rightMatrixOfColumns(at, HEAD_STRIDE);
            let values = rightMatrixOfColumns(BEGIN_V + at, HEAD_STRIDE);
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              s[r] = multiplyAdd(qTile[r * DEPTH_MATRICES + d], keys, s[r]);
              dp[r] = multiplyAdd(doutTile[r * DEPTH_MATRICES + d], values, dp[r]);
            }
          }
          for (var r = 0u; r < times(ROW_MATRICES); r++) {
            storeResult(placeOf(subgroup, r, n), S_STRIDE, s[r]);
            storeResult(BEGIN_DP + placeOf(subgroup, r, n), S_STRIDE, dp[r]);
          }
        }
      }
      workgroupBarrier();
      // 5. P, 6. dS
      for (var n = 0u; n < times(QUADS); n++) {
        let quad = segment + SEGMENTS * n;
        let firstKey = keyBegin + i32(4u * quad);
        let j = firstKey + vec4i(0, 1, 2, 3);
        let seen = visible(sequence, run.bits, i, j) & (j < vec4i(run.end));
        var dropout = vec4f(1.0);
        if (GENERAL && params.hasDropout == 1u) {
          dropout = dropoutFactors(head.batchHead, i.x, firstKey / 4);
        }
        let at = row * S_STRIDE + quad;
        let gradients = pairGradients(sums[at], sums[BEGIN_DP + at], seen, head, i, j, vec4f(stats.x), vec4f(stats.y), dropout);
        operands[BEGIN_DS + row * DS_STRIDE + quad] = vec4<Operand>(gradients.ds);
        if (GENERAL) {
          dslope -= dot(vec4f(distance4(head, i, j)), gradients.dscore);
        }
      }
      workgroupBarrier();
      // 7. dQ += dS·K
      if (subgroup < OWNERS) {
        for (var step = 0u; step < times(STEP_MATRICES); step++) {
          var ds = array<LeftMatrix, ROW_MATRICES>();
          for (var r = 0u; r < times(ROW_MATRICES); r++) {
            let first = subgroup * ROWS_OF_OWNER + r * MATRIX_M;
            ds[r] = leftMatrix(BEGIN_DS + first * DS_STRIDE + step * (MATRIX_K / 4), DS_STRIDE);
          }
          for (var column = 0u; column < times(COLUMN_MATRICES); column++) {
            let keys = rightMatrix(step * MATRIX_K * HEAD_STRIDE + column * (MATRIX_N / 4), HEAD_STRIDE);
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              dqSum[r * COLUMN_MATRICES + column] = multiplyAdd(ds[r], keys, dqSum[r * COLUMN_MATRICES + column]);
            }
          }
        }
      }
      workgroupBarrier();
    }
  }
  // 9. write dQ
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(ROW_MATRICES); r++) {
        for (var column = 0u; column < times(COLUMNS_OF_CHUNK); column++) {
          storeResult(placeOf(subgroup, r, column), S_STRIDE, dqSum[r * COLUMN_MATRICES + chunk * COLUMNS_OF_CHUNK + column]);
        }
      }
    }
    workgroupBarrier();
    for (var at = local; at < BLOCK_M * KEY_VECTORS; at += WORKGROUP) {
      let dqRow = rowBegin + i32(at / KEY_VECTORS);
      let plane = chunk * KEY_VECTORS + at % KEY_VECTORS;
      if (dqRow < sequence.seqlenQ && plane < params.planes) {
        let begin = (h * params.totalQ + u32(sequence.beginQ + dqRow)) * params.planes;
        dqSums[begin + plane] = sums[at / KEY_VECTORS * S_STRIDE + at % KEY_VECTORS];
      }
    }
    workgroupBarrier();
  }
  if (GENERAL) {
    partials[local] = dslope;
    workgroupBarrier();
    if (local == 0u) {
      var sum = 0.0;
      for (var n = 0u; n < params.workgroup; n++) {
        sum += partials[n];
      }
      dslopes[place] = sum;
    }
  }
}
