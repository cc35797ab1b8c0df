// Exact attention, forward: FlashAttention-2's loop order (arXiv 2307.08691, algorithm 1). Mirrors core-math/src/attention-forward.ts.
//
// Nested tiling: a workgroup owns BLOCK_M query rows of one head and walks over tiles of BLOCK_N keys, whose K and then V it stages in workgroup memory, as
// much at a time as STAGE vectors hold. In the scores' phase an invocation has four rows of the tile and four neighbouring keys in registers, in the output's
// phase the same rows and VECTORS·4 columns of V: 16 multiply-adds for every two vectors that it loads. Invocations are numbered (x, y), x along keys and
// columns, y along rows; the rows of one are DOWN apart, and what it loads lies next to what its neighbours load: no bank conflicts.
//
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once for BLOCK_M rows, q once a tile unless it is staged too, everything else once. Four barriers a tile where the stage holds K and V of a tile.

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

const ACROSS = BLOCK_N / 4;
const DOWN = BLOCK_M / 4;
const WORKGROUP = ACROSS * DOWN;
/// Vectors of a row of V in the stage.
const ROW_VECTORS = VECTORS * ACROSS;
/// What the stage holds: planes of K, or keys of V in fours.
const STAGE_PLANES = STAGE / BLOCK_N;
const STAGE_QUADS = STAGE / (4 * ROW_VECTORS);

/// K: [planes][4][ACROSS], placed by placeOfKey; V: [keys][ROW_VECTORS]. Then q: [Q_PLANES][4][DOWN], row r·DOWN + y at (r, y); without planes it is read where it lies.
var<workgroup> stage: array<Vector, STAGE + 4 * Q_PLANES * DOWN>;
/// [ACROSS][4][DOWN]: probabilities of four neighbouring keys.
var<workgroup> pTile: array<vec4f, ACROSS * BLOCK_M>;
/// [ACROSS][DOWN]: what an invocation has found of its four rows.
var<workgroup> partials: array<vec4f, WORKGROUP>;

/// Where plane `plane` of key 4·x + e of a tile is staged: permuted by plane, so that neither the invocations that own keys nor those that bring neighbouring planes of a
/// key meet in a bank.
fn placeOfKey(plane: u32, e: u32, x: u32) -> u32 {
  return plane * BLOCK_N + e * ACROSS + (x ^ (plane % 8u));
}

@compute @workgroup_size(WORKGROUP)
fn attentionForward(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
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
  let x = local % ACROSS;
  let y = local / ACROSS;
  let hk = h / params.groupSize;
  let head = scoreHead(b, h, sequence, select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u));
  let rows = rowBegin + i32(y) + vec4i(0, DOWN, 2 * DOWN, 3 * DOWN);
  // Places of this invocation's rows of q and of the head's keys and values, in vectors.
  let qHead = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h) / 4u;
  let qAt = qHead + vec4u(min(rows, vec4i(sequence.seqlenQ - 1))) * (params.rowStrideQ / 4u);
  let kHead = headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, sequence.beginK, hk) / 4u;
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk) / 4u;
  // 1. load the Q tile
  if (Q_PLANES > 0) {
    for (var plane = x; plane < params.planes; plane += ACROSS) {
      for (var r = 0u; r < 4u; r++) {
        stage[STAGE + (4u * plane + r) * DOWN + y] = q[qAt[r] + plane];
      }
    }
  }

  var o: array<mat4x4f, VECTORS>;
  var rowMax = vec4f(FLOOR);
  /// This invocation's keys' share of the row sums.
  var rowSum: vec4f;

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. stage K, and 3. S = q·kᵀ
      var s = mat4x4f();
      for (var first = 0u; first < params.planes; first += STAGE_PLANES) {
        workgroupBarrier();
        let planes = min(STAGE_PLANES, params.planes - first);
        for (var i = local; i < STAGE_PLANES * BLOCK_N; i += WORKGROUP) {
          let n = i / STAGE_PLANES;
          let plane = i % STAGE_PLANES;
          if (plane < planes) {
            let key = u32(min(keyBegin + i32(n), sequence.seqlenK - 1));
            stage[placeOfKey(plane, n % 4u, n / 4u)] = k[kHead + key * (params.rowStrideK / 4u) + first + plane];
          }
        }
        workgroupBarrier();
        for (var plane = 0u; plane < planes; plane++) {
          let at = placeOfKey(plane, 0u, x);
          let k4 = transpose(mat4x4f(
            vec4f(stage[at]),
            vec4f(stage[at + ACROSS]),
            vec4f(stage[at + 2u * ACROSS]),
            vec4f(stage[at + 3u * ACROSS]),
          ));
          for (var r = 0u; r < 4u; r++) {
            var q4: vec4f;
            if (Q_PLANES > 0) {
              q4 = vec4f(stage[STAGE + (4u * (first + plane) + r) * DOWN + y]);
            } else {
              q4 = vec4f(q[qAt[r] + first + plane]);
            }
            s[r] = addRow(s[r], q4, k4);
          }
        }
      }
      // 3. scaled, capped, with ALiBi and bias; 4. masked
      let j = keyBegin + 4 * i32(x) + vec4i(0, 1, 2, 3);
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      var most: vec4f;
      for (var r = 0u; r < 4u; r++) {
        let i = vec4i(rows[r]);
        s[r] = biasedScores(cappedScores(s[r]), head, i, j);
        if (!all) {
          s[r] = select(vec4f(LOWEST), s[r], visible(sequence, run.bits, i, j) & (j < vec4i(run.end)));
        }
        most[r] = most4(s[r]);
      }
      // 4. new maxima, and rescale O
      partials[x * DOWN + y] = most;
      workgroupBarrier();
      var newMax = rowMax;
      for (var other = y; other < WORKGROUP; other += DOWN) {
        newMax = max(newMax, partials[other]);
      }
      let rescale = exp(rowMax - newMax);
      rowMax = newMax;
      rowSum *= rescale;
      for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < VECTORS; c++) {
          o[c][r] *= rescale[r];
        }
        // 4. P = exp(S − m), 0 where masked
        var p = exp(s[r] - newMax[r]);
        rowSum[r] += sum4(p);
        if (GENERAL && params.hasDropout == 1u) {
          p *= dropoutFactors(head.batchHead, rows[r], j.x / 4);
        }
        pTile[(4u * x + r) * DOWN + y] = p;
      }
      // 5. stage V, and O += P·v, with dropout on P, of which the row sum knows nothing
      let quads = u32(min(BLOCK_N, run.end - keyBegin) + 3) / 4u;
      for (var first = 0u; first < quads; first += STAGE_QUADS) {
        if (first > 0u) {
          workgroupBarrier();
        }
        let count = min(STAGE_QUADS, quads - first);
        for (var i = local; i < count * 4u * ROW_VECTORS; i += WORKGROUP) {
          let key = keyBegin + i32(4u * first + i / ROW_VECTORS);
          let vector = min(i % ROW_VECTORS, params.planesV - 1u);
          stage[i] = v[vHead + u32(min(key, sequence.seqlenK - 1)) * (params.rowStrideV / 4u) + vector];
        }
        workgroupBarrier();
        for (var quad = 0u; quad < count; quad++) {
          let p4 = mat4x4f(
            pTile[(4u * (first + quad)) * DOWN + y],
            pTile[(4u * (first + quad) + 1u) * DOWN + y],
            pTile[(4u * (first + quad) + 2u) * DOWN + y],
            pTile[(4u * (first + quad) + 3u) * DOWN + y],
          );
          for (var c = 0u; c < VECTORS; c++) {
            let at = 4u * quad * ROW_VECTORS + c * ACROSS + x;
            let v4 = mat4x4f(
              vec4f(stage[at]),
              vec4f(stage[at + ROW_VECTORS]),
              vec4f(stage[at + 2u * ROW_VECTORS]),
              vec4f(stage[at + 3u * ROW_VECTORS]),
            );
            for (var r = 0u; r < 4u; r++) {
              o[c][r] = addRow(o[c][r], p4[r], v4);
            }
          }
        }
      }
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  workgroupBarrier();
  partials[x * DOWN + y] = rowSum;
  workgroupBarrier();
  var sum: vec4f;
  for (var other = y; other < WORKGROUP; other += DOWN) {
    sum += partials[other];
  }
  let total = totalOf(sum, rowMax, h);
  let firstRow = split * params.totalQ * params.nHeads;
  for (var r = 0u; r < 4u; r++) {
    if (rows[r] < sequence.seqlenQ) {
      if (x == 0u) {
        lse[firstRow + lseOf(b, sequence.beginQ, h) + u32(rows[r])] = total.lse[r];
      }
      for (var c = 0u; c < VECTORS; c++) {
        storeOut(firstRow + u32(sequence.beginQ + rows[r]) * params.nHeads + h, 4u * (c * ACROSS + x), o[c][r] * total.rescale[r]);
      }
    }
  }
}
