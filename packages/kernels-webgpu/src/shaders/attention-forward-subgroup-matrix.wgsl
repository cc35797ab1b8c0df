// attention-forward.wgsl on subgroup matrices (subgroup-matrix.wgsl): the same numbered steps, FlashAttention-2's division of work (arXiv 2307.08691, section 3.3).
//
// Nested tiling: a workgroup owns BLOCK_M query rows of one head, each of four subgroups 16 of them: their Q, as left matrices, and their O, as results, stay in
// registers. BLOCK_N keys at a time, K and V lie in workgroup memory, which all subgroups read as right matrices. The elements of a matrix are out of reach in
// registers, so S goes through workgroup memory to invocations that own a piece of a row each, and comes back as P, the left matrices of O += P·V.
//
// For the same reason O is rescaled by way of workgroup memory. That is rare: only when a score exceeds its row's maximum by more than RESCALE_ABOVE, which keeps P
// below e^RESCALE_ABOVE, well within f16, and cancels in O/l and m + ln l. (A product with a diagonal matrix would need O as an operand, in f16.)
//
// Three barriers a tile guard S, P with V, and K; two more agree on whether a maximum has grown. FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once
// for BLOCK_M rows, everything else once.

@group(0) @binding(0) var<storage, read> q: array<Vector>;
@group(0) @binding(1) var<storage, read> k: array<Vector>;
@group(0) @binding(2) var<storage, read> v: array<Vector>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
/// ALiBi's slopes [B, Hq], then sinks [Hq].
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
/// Of each part of the keys, if they are split.
@group(0) @binding(6) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

/// Subgroups that own rows, ROWS_OF_OWNER each.
const OWNERS = 4;
const BLOCK_M = OWNERS * ROWS_OF_OWNER;
/// Matrices along an owner's rows, the head dim of Q and K, the keys of S and of P, and the head dim of V.
const ROW_MATRICES = ROWS_OF_OWNER / MATRIX_M;
const DEPTH_MATRICES = HEAD_DIM / MATRIX_K;
const KEY_MATRICES = BLOCK_N / MATRIX_N;
const STEP_MATRICES = BLOCK_N / MATRIX_K;
const COLUMN_MATRICES = HEAD_DIM / MATRIX_N;

/// operands: K and V [BLOCK_N][HEAD_DIM], P [BLOCK_M][BLOCK_N], in vectors of four, rows PADDING vectors longer. In P's place also BLOCK_N columns of Q.
const HEAD_VECTORS = HEAD_DIM / 4;
const HEAD_STRIDE = HEAD_VECTORS + PADDING;
const KEY_VECTORS = BLOCK_N / 4;
const P_STRIDE = KEY_VECTORS + PADDING;
const BEGIN_V = BLOCK_N * HEAD_STRIDE;
const BEGIN_P = 2 * BEGIN_V;
const OPERANDS = BEGIN_P + BLOCK_M * P_STRIDE;
/// sums: S [BLOCK_M][BLOCK_N], or as many columns of O.
const S_STRIDE = KEY_VECTORS + 1;
const SUMS = BLOCK_M * S_STRIDE;
const CHUNKS = HEAD_DIM / BLOCK_N;
const COLUMNS_OF_CHUNK = COLUMN_MATRICES / CHUNKS;

/// Invocations that share a row, and vectors of four scores that each has.
const SEGMENTS = WORKGROUP / BLOCK_M;
const QUADS = KEY_VECTORS / SEGMENTS;
const RESCALE_ABOVE = 8.0;

var<workgroup> partials: array<f32, WORKGROUP>;
var<workgroup> rowMax: array<f32, BLOCK_M>;
/// The factor of O of a row whose maximum has grown; at the end the factor that divides it.
var<workgroup> rescale: array<f32, BLOCK_M>;
/// Whether some score is too large for its row's maximum, by turns of the tiles.
var<workgroup> grown: array<atomic<u32>, 2>;

/// Vector `plane` of a row that begins at element `row`; zeros beyond the head dim.
fn loadQ(row: u32, plane: u32) -> vec4f {
  return select(vec4f(0.0), vec4f(q[row / 4u + min(plane, params.planes - 1u)]), plane < params.planes);
}

fn loadK(row: u32, plane: u32) -> vec4f {
  return select(vec4f(0.0), vec4f(k[row / 4u + min(plane, params.planes - 1u)]), plane < params.planes);
}

fn loadV(row: u32, plane: u32) -> vec4f {
  return select(vec4f(0.0), vec4f(v[row / 4u + min(plane, params.planesV - 1u)]), plane < params.planesV);
}

/// Columns BLOCK_N·chunk … of the Q tile, in P's place.
fn stageQ(head: u32, rowBegin: i32, seqlenQ: i32, chunk: u32, local: u32) {
  for (var i = local; i < BLOCK_M * KEY_VECTORS; i += WORKGROUP) {
    let row = rowBegin + i32(i / KEY_VECTORS);
    var values = vec4f(0.0);
    if (row < seqlenQ) {
      values = loadQ(head + u32(row) * params.rowStrideQ, chunk * KEY_VECTORS + i % KEY_VECTORS);
    }
    operands[BEGIN_P + i / KEY_VECTORS * P_STRIDE + i % KEY_VECTORS] = vec4<Operand>(values);
  }
}

/// The K tile; zeros from keyEnd on.
fn stageK(head: u32, keyBegin: i32, keyEnd: i32, local: u32) {
  for (var i = local; i < BLOCK_N * HEAD_VECTORS; i += WORKGROUP) {
    let key = keyBegin + i32(i / HEAD_VECTORS);
    var values = vec4f(0.0);
    if (key < keyEnd) {
      values = loadK(head + u32(key) * params.rowStrideK, i % HEAD_VECTORS);
    }
    operands[i / HEAD_VECTORS * HEAD_STRIDE + i % HEAD_VECTORS] = vec4<Operand>(values);
  }
}

fn stageV(head: u32, keyBegin: i32, keyEnd: i32, local: u32) {
  for (var i = local; i < BLOCK_N * HEAD_VECTORS; i += WORKGROUP) {
    let key = keyBegin + i32(i / HEAD_VECTORS);
    var values = vec4f(0.0);
    if (key < keyEnd) {
      values = loadV(head + u32(key) * params.rowStrideV, i % HEAD_VECTORS);
    }
    operands[BEGIN_V + i / HEAD_VECTORS * HEAD_STRIDE + i % HEAD_VECTORS] = vec4<Operand>(values);
  }
}

/// Where in sums matrix `column` of a chunk of O begins, of an owner's matrix `r` along its rows.
fn placeOf(owner: u32, r: u32, column: u32) -> u32 {
  return (owner * ROWS_OF_OWNER + r * MATRIX_M) * S_STRIDE + column * (MATRIX_N / 4);
}

@compute @workgroup_size(WORKGROUP)
fn attentionForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_id) subgroupId: u32,
) {
  let subgroup = enterSubgroup(local, subgroupId);
  let split = workgroup.z % params.nSplits;
  let b = params.firstBatch + workgroup.z / params.nSplits;
  let h = workgroup.y;
  let sequence = sequenceOf(b);
  // The last rows first: under a causal mask they see the most keys.
  let rowBegin = i32((params.nMBlocks - 1u - workgroup.x) * BLOCK_M);
  let rowEnd = rowBegin + BLOCK_M;
  if (rowBegin >= sequence.seqlenQ) {
    return;
  }
  let hk = h / params.groupSize;
  let head = scoreHead(b, h, sequence, select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u));
  // 1. load the Q tile
  let qHead = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h);
  var qTile = array<LeftMatrix, ROW_MATRICES * DEPTH_MATRICES>();
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    stageQ(qHead, rowBegin, sequence.seqlenQ, chunk, local);
    workgroupBarrier();
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(ROW_MATRICES); r++) {
        for (var d = 0u; d < times(STEP_MATRICES); d++) {
          let row = subgroup * ROWS_OF_OWNER + r * MATRIX_M;
          qTile[r * DEPTH_MATRICES + chunk * STEP_MATRICES + d] =
            leftMatrix(BEGIN_P + row * P_STRIDE + d * (MATRIX_K / 4), P_STRIDE);
        }
      }
    }
    workgroupBarrier();
  }
  if (local < BLOCK_M) {
    rowMax[local] = LOWEST;
  }
  if (local < 2u) {
    atomicStore(&grown[local], 0u);
  }

  let kHead = headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, sequence.beginK, hk);
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk);
  // This invocation's row, and its share of that row's keys.
  let row = local / SEGMENTS;
  let segment = local % SEGMENTS;
  let i = vec4i(rowBegin + i32(row));
  var o = array<ResultMatrix, ROW_MATRICES * COLUMN_MATRICES>();
  var scores = array<vec4f, QUADS>();
  var rowSum = 0.0;
  var started = false;
  var turn = 0u;

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. load the K tile, while subgroups may still read the last V tile
      stageK(kHead, keyBegin, run.end, local);
      workgroupBarrier();
      // 3. S = q·kᵀ
      if (subgroup < OWNERS) {
        for (var n = 0u; n < times(KEY_MATRICES); n++) {
          var s = array<ResultMatrix, ROW_MATRICES>();
          for (var d = 0u; d < times(DEPTH_MATRICES); d++) {
            let keys = rightMatrixOfColumns(n * MATRIX_N * HEAD_STRIDE + d * (MATRIX_K / 4), HEAD_STRIDE);
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              s[r] = multiplyAdd(qTile[r * DEPTH_MATRICES + d], keys, s[r]);
            }
          }
          for (var r = 0u; r < times(ROW_MATRICES); r++) {
            storeResult(placeOf(subgroup, r, n), S_STRIDE, s[r]);
          }
        }
      }
      // 2. load the V tile
      stageV(vHead, keyBegin, run.end, local);
      workgroupBarrier();
      // 3. S scaled, capped, with ALiBi and bias; 4. mask, and see whether some row's maximum has to grow
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      var most = LOWEST;
      for (var n = 0u; n < times(QUADS); n++) {
        let quad = segment + SEGMENTS * n;
        let j = keyBegin + i32(4u * quad) + vec4i(0, 1, 2, 3);
        var s = biasedScores(cappedScores(sums[row * S_STRIDE + quad]), head, i, j);
        if (!all) {
          s = select(vec4f(LOWEST), s, visible(sequence, run.bits, i, j) & (j < vec4i(run.end)));
        }
        scores[n] = s;
        most = max(most, max(max(s.x, s.y), max(s.z, s.w)));
      }
      if (most > rowMax[row] + RESCALE_ABOVE) {
        atomicStore(&grown[turn], 1u);
      }
      if (workgroupUniformLoad(&grown[turn]) == 1u) {
        // 4. new maxima, and rescale O
        partials[local] = most;
        workgroupBarrier();
        if (local < BLOCK_M) {
          let oldMax = rowMax[local];
          var newMax = oldMax;
          for (var n = 0u; n < times(SEGMENTS); n++) {
            newMax = max(newMax, partials[local * SEGMENTS + n]);
          }
          rowMax[local] = newMax;
          rescale[local] = exp(oldMax - newMax);
        }
        workgroupBarrier();
        rowSum *= rescale[row];
        for (var chunk = select(CHUNKS, 0u, started); chunk < timesTogether(CHUNKS); chunk++) {
          if (subgroup < OWNERS) {
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              for (var column = 0u; column < times(COLUMNS_OF_CHUNK); column++) {
                storeResult(placeOf(subgroup, r, column), S_STRIDE, o[r * COLUMN_MATRICES + chunk * COLUMNS_OF_CHUNK + column]);
              }
            }
          }
          workgroupBarrier();
          for (var at = local; at < BLOCK_M * KEY_VECTORS; at += WORKGROUP) {
            sums[at / KEY_VECTORS * S_STRIDE + at % KEY_VECTORS] *= rescale[at / KEY_VECTORS];
          }
          workgroupBarrier();
          if (subgroup < OWNERS) {
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              for (var column = 0u; column < times(COLUMNS_OF_CHUNK); column++) {
                o[r * COLUMN_MATRICES + chunk * COLUMNS_OF_CHUNK + column] = loadResult(placeOf(subgroup, r, column), S_STRIDE);
              }
            }
          }
          workgroupBarrier();
        }
      }
      if (local == 0u) {
        atomicStore(&grown[1u - turn], 0u);
      }
      turn = 1u - turn;
      // 4. P = exp(S − m), 0 where masked
      for (var n = 0u; n < times(QUADS); n++) {
        let quad = segment + SEGMENTS * n;
        var p = select(exp(scores[n] - rowMax[row]), vec4f(0.0), scores[n] <= vec4f(LOWEST));
        rowSum += (p.x + p.y) + (p.z + p.w);
        if (GENERAL && params.hasDropout == 1u) {
          // The factor of what is kept follows at the end: here it might exceed f16.
          p = select(p, vec4f(0.0), dropoutFactors(head.batchHead, i.x, (keyBegin + i32(4u * quad)) / 4) == vec4f(0.0));
        }
        operands[BEGIN_P + row * P_STRIDE + quad] = vec4<Operand>(p);
      }
      workgroupBarrier();
      // 5. O += P·v, with dropout on P, of which the row sum knows nothing
      if (subgroup < OWNERS) {
        for (var step = 0u; step < times(STEP_MATRICES); step++) {
          var p = array<LeftMatrix, ROW_MATRICES>();
          for (var r = 0u; r < times(ROW_MATRICES); r++) {
            let first = subgroup * ROWS_OF_OWNER + r * MATRIX_M;
            p[r] = leftMatrix(BEGIN_P + first * P_STRIDE + step * (MATRIX_K / 4), P_STRIDE);
          }
          for (var column = 0u; column < times(COLUMN_MATRICES); column++) {
            let values = rightMatrix(BEGIN_V + step * MATRIX_K * HEAD_STRIDE + column * (MATRIX_N / 4), HEAD_STRIDE);
            for (var r = 0u; r < times(ROW_MATRICES); r++) {
              o[r * COLUMN_MATRICES + column] = multiplyAdd(p[r], values, o[r * COLUMN_MATRICES + column]);
            }
          }
        }
      }
      started = true;
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  partials[local] = rowSum;
  workgroupBarrier();
  let rows = split * params.totalQ * params.nHeads;
  if (local < BLOCK_M) {
    var sum = 0.0;
    for (var n = 0u; n < times(SEGMENTS); n++) {
      sum += partials[local * SEGMENTS + n];
    }
    var most = rowMax[local];
    if (GENERAL && params.hasHeads == 1u && params.nSplits == 1u) {
      let sink = max(heads[params.batchSize * params.nHeads + h], LOWEST);
      let newMax = max(most, sink);
      let own = exp(most - newMax);
      let sinkSum = select(0.0, exp(sink - newMax), sink > LOWEST);
      sum = sum * own + sinkSum;
      rescale[local] = select(own / sum, 0.0, sum == 0.0);
      most = newMax;
    } else {
      rescale[local] = select(1.0 / sum, 0.0, sum == 0.0);
    }
    if (GENERAL && params.hasDropout == 1u) {
      rescale[local] *= params.keptFactor;
    }
    if (rowBegin + i32(local) < sequence.seqlenQ) {
      lse[rows + lseOf(b, sequence.beginQ, h) + u32(rowBegin) + local] = select(most + log(sum), params.minusInfinity, sum == 0.0);
    }
  }
  for (var chunk = 0u; chunk < timesTogether(CHUNKS); chunk++) {
    if (subgroup < OWNERS) {
      for (var r = 0u; r < times(ROW_MATRICES); r++) {
        for (var column = 0u; column < times(COLUMNS_OF_CHUNK); column++) {
          storeResult(placeOf(subgroup, r, column), S_STRIDE, o[r * COLUMN_MATRICES + chunk * COLUMNS_OF_CHUNK + column]);
        }
      }
    }
    workgroupBarrier();
    for (var at = local; at < BLOCK_M * KEY_VECTORS; at += WORKGROUP) {
      let outRow = rowBegin + i32(at / KEY_VECTORS);
      let column = chunk * BLOCK_N + 4u * (at % KEY_VECTORS);
      if (outRow < sequence.seqlenQ) {
        let values = sums[at / KEY_VECTORS * S_STRIDE + at % KEY_VECTORS] * rescale[at / KEY_VECTORS];
        storeOut(rows + u32(sequence.beginQ + outRow) * params.nHeads + h, column, values);
      }
    }
    workgroupBarrier();
  }
}
