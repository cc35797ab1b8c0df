// attention-backward-dkdv.wgsl on subgroup matrices (subgroup-matrix.wgsl): the same numbered steps, transposed, so that keys are the rows of all results. A workgroup
// owns BLOCK_N keys, each of four subgroups 16 of them, whose K and V, as left matrices, and dK and dV, as results, stay in registers. BLOCK query rows at a
// time, Q and dout lie in workgroup memory as right matrices. Sᵀ and dPᵀ go through workgroup memory to invocations that own a piece of a key each, and come back
// as Pᵀ and dSᵀ, the left matrices of dV += Pᵀ·dout and dK += dSᵀ·Q.

@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;
/// [Hk][totalK][2·planes]: dK, without the softmax scale, and dV.
@group(0) @binding(4) var<storage, read_write> dkdvSums: array<vec4f>;

/// Subgroups that own keys, ROWS_OF_OWNER each.
const OWNERS = 4;
const BLOCK_N = OWNERS * ROWS_OF_OWNER;
/// Matrices along an owner's keys, head dims as depth, query rows as columns and as depth, and head dims as columns.
const KEY_MATRICES = ROWS_OF_OWNER / MATRIX_M;
const DEPTH_MATRICES = HEAD_DIM / MATRIX_K;
const ROW_MATRICES = BLOCK / MATRIX_N;
const STEP_MATRICES = BLOCK / MATRIX_K;
const COLUMN_MATRICES = HEAD_DIM / MATRIX_N;

/// operands: Q and dout [BLOCK][HEAD_DIM], Pᵀ and dSᵀ [BLOCK_N][BLOCK], in vectors of four, rows PADDING vectors longer. In Pᵀ's place also BLOCK columns of
/// K or V.
const HEAD_VECTORS = HEAD_DIM / 4;
const HEAD_STRIDE = HEAD_VECTORS + PADDING;
const ROW_VECTORS = BLOCK / 4;
const P_STRIDE = ROW_VECTORS + PADDING;
const BEGIN_DOUT = BLOCK * HEAD_STRIDE;
const BEGIN_P = 2 * BEGIN_DOUT;
const BEGIN_DS = BEGIN_P + BLOCK_N * P_STRIDE;
const OPERANDS = BEGIN_DS + BLOCK_N * P_STRIDE;
/// sums: Sᵀ and dPᵀ [BLOCK_N][BLOCK], or as many columns of dK and dV.
const S_STRIDE = ROW_VECTORS + 1;
const BEGIN_DP = BLOCK_N * S_STRIDE;
const SUMS = 2 * BEGIN_DP;
const CHUNKS = HEAD_DIM / BLOCK;
const COLUMNS_OF_CHUNK = COLUMN_MATRICES / CHUNKS;

/// Invocations that share a key, and vectors of four pairs that each has.
const SEGMENTS = WORKGROUP / BLOCK_N;
const QUADS = ROW_VECTORS / SEGMENTS;

/// lse and delta of the tile's query rows.
var<workgroup> lseTile: array<f32, BLOCK>;
var<workgroup> deltaTile: array<f32, BLOCK>;

alias LeftTile = array<LeftMatrix, KEY_MATRICES * DEPTH_MATRICES>;

/// Vectors of a row of packedQ: q, dout, and lse, delta and slope.
fn rowVectorsQ() -> u32 {
  return 2u * params.planes + 1u;
}

/// The tile of vectors first … of this workgroup's keys, as an owner's left matrices. `head` is the first vector of the sequence's first key.
fn loadKeys(tile: ptr<function, LeftTile>, head: u32, first: u32, keyBegin: i32, seqlenK: i32, local: u32, subgroup: u32) {
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    for (var at = local; at < BLOCK_N * ROW_VECTORS; at += WORKGROUP) {
      let key = keyBegin + i32(at / ROW_VECTORS);
      let plane = chunk * ROW_VECTORS + at % ROW_VECTORS;
      var values = vec4f(0.0);
      if (key < seqlenK && plane < params.planes) {
        values = packedK[head + u32(key) * 2u * params.planes + first + plane];
      }
      operands[BEGIN_P + at / ROW_VECTORS * P_STRIDE + at % ROW_VECTORS] = vec4<Operand>(values);
    }
    workgroupBarrier();
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(KEY_MATRICES); r++) {
        for (var d = 0u; d < times(STEP_MATRICES); d++) {
          let key = subgroup * ROWS_OF_OWNER + r * MATRIX_M;
          (*tile)[r * DEPTH_MATRICES + chunk * STEP_MATRICES + d] = leftMatrix(BEGIN_P + key * P_STRIDE + d * (MATRIX_K / 4), P_STRIDE);
        }
      }
    }
    workgroupBarrier();
  }
}

/// Vectors first … of query rows rowBegin …, to vector `begin` of operands; zeros from rowEnd on.
fn stageRows(begin: u32, head: u32, first: u32, rowBegin: i32, rowEnd: i32, local: u32) {
  for (var at = local; at < BLOCK * HEAD_VECTORS; at += WORKGROUP) {
    let row = rowBegin + i32(at / HEAD_VECTORS);
    let plane = at % HEAD_VECTORS;
    var values = vec4f(0.0);
    if (row < rowEnd && plane < params.planes) {
      values = packedQ[head + u32(row) * rowVectorsQ() + first + plane];
    }
    operands[begin + at / HEAD_VECTORS * HEAD_STRIDE + plane] = vec4<Operand>(values);
  }
}

/// Where in sums matrix `column` begins, of an owner's matrix `r` along its keys.
fn placeOf(owner: u32, r: u32, column: u32) -> u32 {
  return (owner * ROWS_OF_OWNER + r * MATRIX_M) * S_STRIDE + column * (MATRIX_N / 4);
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDkdv(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroupId: u32,
) {
  let subgroup = enterSubgroup(local, subgroupId);
  let b = params.firstBatch + workgroup.z;
  let hk = workgroup.y;
  let sequence = sequenceOf(b);
  let keyBegin = i32(workgroup.x * BLOCK_N);
  let keyEnd = keyBegin + BLOCK_N;
  if (keyBegin >= sequence.seqlenK) {
    return;
  }
  // 1. load the K and V tiles, which stay
  let kHead = (hk * params.totalK + u32(sequence.beginK)) * 2u * params.planes;
  var kTile: LeftTile;
  loadKeys(&kTile, kHead, 0u, keyBegin, sequence.seqlenK, local, subgroup);
  var vTile: LeftTile;
  loadKeys(&vTile, kHead, params.planes, keyBegin, sequence.seqlenK, local, subgroup);
  // This invocation's key, and its share of a tile's query rows.
  let key = local / SEGMENTS;
  let segment = local % SEGMENTS;
  let j = vec4i(keyBegin + i32(key));

  var dkSum = array<ResultMatrix, KEY_MATRICES * COLUMN_MATRICES>();
  var dvSum = array<ResultMatrix, KEY_MATRICES * COLUMN_MATRICES>();
  let visited = visitedQueries(sequence, keyBegin, min(keyEnd, sequence.seqlenK));
  for (var h = hk * params.groupSize; h < (hk + 1u) * params.groupSize; h++) {
    let qHead = (h * params.totalQ + u32(sequence.beginQ)) * rowVectorsQ();
    let statsHead = qHead + 2u * params.planes;
    let head = scoreHead(b, h, sequence, packedQ[statsHead].z);
    let runs = runsOfKeys(b, h, keyBegin);
    for (var number = runs.begin; number < runs.end; number++) {
      let run = queriesOfRun(number, visited, BLOCK);
      for (var rowBegin = run.begin; rowBegin < run.end; rowBegin += BLOCK) {
        // 2. load the Q and dout tiles
        stageRows(0u, qHead, 0u, rowBegin, run.end, local);
        stageRows(BEGIN_DOUT, qHead, params.planes, rowBegin, run.end, local);
        if (local < BLOCK) {
          let stats = packedQ[statsHead + u32(min(rowBegin + i32(local), run.end - 1)) * rowVectorsQ()];
          lseTile[local] = stats.x;
          deltaTile[local] = stats.y;
        }
        workgroupBarrier();
        // 3. S = q·kᵀ, 4. dP = dout·vᵀ
        if (subgroup < OWNERS) {
          for (var n = 0u; n < times(ROW_MATRICES); n++) {
            var s = array<ResultMatrix, KEY_MATRICES>();
            var dp = array<ResultMatrix, KEY_MATRICES>();
            for (var d = 0u; d < times(DEPTH_MATRICES); d++) {
              let at = n * MATRIX_N * HEAD_STRIDE + d * (MATRIX_K / 4);
              let rows = rightMatrixOfColumns(at, HEAD_STRIDE);
              let gradients = rightMatrixOfColumns(BEGIN_DOUT + at, HEAD_STRIDE);
              for (var r = 0u; r < times(KEY_MATRICES); r++) {
                s[r] = multiplyAdd(kTile[r * DEPTH_MATRICES + d], rows, s[r]);
                dp[r] = multiplyAdd(vTile[r * DEPTH_MATRICES + d], gradients, dp[r]);
              }
            }
            for (var r = 0u; r < times(KEY_MATRICES); r++) {
              storeResult(placeOf(subgroup, r, n), S_STRIDE, s[r]);
              storeResult(BEGIN_DP + placeOf(subgroup, r, n), S_STRIDE, dp[r]);
            }
          }
        }
        workgroupBarrier();
        // 5. P, 6. dS
        for (var n = 0u; n < times(QUADS); n++) {
          let quad = segment + SEGMENTS * n;
          let firstRow = rowBegin + i32(4u * quad);
          let i = firstRow + vec4i(0, 1, 2, 3);
          let seen = visible(sequence, run.bits, i, j) & (i < vec4i(run.end));
          var dropout = vec4f(1.0);
          if (GENERAL && params.hasDropout == 1u) {
            dropout = dropoutOfRows(head.batchHead, firstRow, j.x);
          }
          let first = 4u * quad;
          let rowLse = vec4f(lseTile[first], lseTile[first + 1u], lseTile[first + 2u], lseTile[first + 3u]);
          let delta = vec4f(deltaTile[first], deltaTile[first + 1u], deltaTile[first + 2u], deltaTile[first + 3u]);
          let at = key * S_STRIDE + quad;
          let gradients = pairGradients(sums[at], sums[BEGIN_DP + at], seen, head, i, j, rowLse, delta, dropout);
          operands[BEGIN_P + key * P_STRIDE + quad] = vec4<Operand>(gradients.p);
          operands[BEGIN_DS + key * P_STRIDE + quad] = vec4<Operand>(gradients.ds);
        }
        workgroupBarrier();
        // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
        if (subgroup < OWNERS) {
          for (var step = 0u; step < times(STEP_MATRICES); step++) {
            var p = array<LeftMatrix, KEY_MATRICES>();
            var ds = array<LeftMatrix, KEY_MATRICES>();
            for (var r = 0u; r < times(KEY_MATRICES); r++) {
              let place = (subgroup * ROWS_OF_OWNER + r * MATRIX_M) * P_STRIDE + step * (MATRIX_K / 4);
              p[r] = leftMatrix(BEGIN_P + place, P_STRIDE);
              ds[r] = leftMatrix(BEGIN_DS + place, P_STRIDE);
            }
            for (var column = 0u; column < times(COLUMN_MATRICES); column++) {
              let at = step * MATRIX_K * HEAD_STRIDE + column * (MATRIX_N / 4);
              let rows = rightMatrix(at, HEAD_STRIDE);
              let gradients = rightMatrix(BEGIN_DOUT + at, HEAD_STRIDE);
              for (var r = 0u; r < times(KEY_MATRICES); r++) {
                dkSum[r * COLUMN_MATRICES + column] = multiplyAdd(ds[r], rows, dkSum[r * COLUMN_MATRICES + column]);
                dvSum[r * COLUMN_MATRICES + column] = multiplyAdd(p[r], gradients, dvSum[r * COLUMN_MATRICES + column]);
              }
            }
          }
        }
        workgroupBarrier();
      }
    }
  }
  // 10. write dK and dV
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(KEY_MATRICES); r++) {
        for (var column = 0u; column < times(COLUMNS_OF_CHUNK); column++) {
          let number = r * COLUMN_MATRICES + chunk * COLUMNS_OF_CHUNK + column;
          storeResult(placeOf(subgroup, r, column), S_STRIDE, dkSum[number]);
          storeResult(BEGIN_DP + placeOf(subgroup, r, column), S_STRIDE, dvSum[number]);
        }
      }
    }
    workgroupBarrier();
    for (var at = local; at < BLOCK_N * ROW_VECTORS; at += WORKGROUP) {
      let row = keyBegin + i32(at / ROW_VECTORS);
      let plane = chunk * ROW_VECTORS + at % ROW_VECTORS;
      if (row < sequence.seqlenK && plane < params.planes) {
        let place = at / ROW_VECTORS * S_STRIDE + at % ROW_VECTORS;
        let begin = (hk * params.totalK + u32(sequence.beginK + row)) * 2u * params.planes;
        dkdvSums[begin + plane] = sums[place];
        dkdvSums[begin + params.planes + plane] = sums[BEGIN_DP + place];
      }
    }
    workgroupBarrier();
  }
}
