// Exact attention, forward, by way of subgroups of any size: the steps of attention-forward.wgsl with fewer barriers and without P in workgroup memory. For GPUs.
//
// Nested tiling: a workgroup owns BLOCK_M query rows of one head, each group of LANES lanes (lanes.wgsl) ROWS of them, and walks over tiles of 4·LANES keys. K and V of a
// tile are staged in workgroup memory, in turns: while one is multiplied, the next is on its way from memory into registers, so that a tile takes two barriers. In the
// scores' phase a lane has four neighbouring keys of the tile, in the output's phase VECTORS·4 columns of V, each against its group's rows, in registers; what a lane
// needs of the others' (maxima, sums, P) comes by shuffles within the group, at constant distances.
//
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once for BLOCK_M rows, q once a tile unless it is staged too, everything else once.

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

const BLOCK_N = 4 * LANES;
/// Vectors of a staged row, of q, k or v.
const ROW_VECTORS = VECTORS * LANES;
/// Groups that the rows of a workgroup are for.
const ROW_GROUPS = BLOCK_M / ROWS;
/// Vectors of K, or of V, of a tile; and those of them that an invocation fetches.
const TILE = BLOCK_N * ROW_VECTORS;
const FETCHES = (TILE + WORKGROUP - 1) / WORKGROUP;

/// K, then V: rows of lanes.wgsl. Then q, if there are Q_PLANES, which are ROW_VECTORS; else it is read where it lies.
var<workgroup> stage: array<Vector, 2 * TILE + BLOCK_M * Q_PLANES>;

/// Vectors on their way into the stage.
alias Fetched = array<Vector, FETCHES>;
/// Four keys of each row.
alias Scores = array<vec4f, ROWS>;

/// The part of a tile of k that this invocation stages; the last key again for those beyond. `head`: place of the sequence's first key, in vectors.
fn fetchK(head: u32, keyBegin: i32, lastKey: i32, local: u32) -> Fetched {
  var fetched: Fetched;
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    let key = u32(min(keyBegin + i32(at / ROW_VECTORS), lastKey));
    fetched[n] = k[head + key * (params.rowStrideK / 4u) + min(at % ROW_VECTORS, params.planes - 1u)];
  }
  return fetched;
}

fn fetchV(head: u32, keyBegin: i32, lastKey: i32, local: u32) -> Fetched {
  var fetched: Fetched;
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    let key = u32(min(keyBegin + i32(at / ROW_VECTORS), lastKey));
    fetched[n] = v[head + key * (params.rowStrideV / 4u) + min(at % ROW_VECTORS, params.planesV - 1u)];
  }
  return fetched;
}

/// Where a vector of q is staged: permuted by group, so that groups of a subgroup read from different banks.
fn placeOfQ(row: u32, vector: u32) -> u32 {
  return 2u * TILE + row * ROW_VECTORS + (vector ^ (row / ROWS % LANES));
}

fn keep(fetched: Fetched, begin: u32, local: u32) {
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    if (at < TILE) {
      stage[begin + placeInStage(at / ROW_VECTORS, at % ROW_VECTORS)] = fetched[n];
    }
  }
}

/// 3. Scores of rows from i on and of keys j, with options where there are any, and masked.
fn changed(products: Scores, i: i32, j: vec4i, all: bool, run: Run, sequence: Sequence, head: ScoreHead) -> Scores {
  var s = products;
  for (var r = 0; r < ROWS; r++) {
    let row = vec4i(i + r);
    var scores = biasedScores(cappedScores(s[r]), head, row, j);
    if (!all) {
      scores = select(vec4f(LOWEST), scores, visible(sequence, run.bits, row, j) & (j < vec4i(run.end)));
    }
    s[r] = scores;
  }
  return s;
}

fn dropped(p: Scores, batchHead: u32, i: i32, j4: i32) -> Scores {
  var s = p;
  for (var r = 0; r < ROWS; r++) {
    s[r] *= dropoutFactors(batchHead, i + r, j4);
  }
  return s;
}

/// A tile of keys that the workgroup visits: those from keyBegin on of a run, by its number.
struct Visit {
  number: i32,
  run: Run,
  keyBegin: i32,
}

/// The visit itself, or where its run is at an end, the first of a later run; with keyBegin ≥ run.end where there is none.
fn orLater(visit: Visit, last: i32, visited: Range) -> Visit {
  var next = visit;
  while (next.keyBegin >= next.run.end && next.number + 1 < last) {
    next.number++;
    next.run = keysOfRun(next.number, visited, BLOCK_N);
    next.keyBegin = next.run.begin;
  }
  return next;
}

@compute @workgroup_size(WORKGROUP)
fn attentionForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) id: u32,
) {
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
  // Places of the first rows of the sequence, in vectors.
  let qHead = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h) / 4u;
  let kHead = headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, sequence.beginK, hk) / 4u;
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk) / 4u;
  let lastRow = sequence.seqlenQ - 1;
  let lastKey = sequence.seqlenK - 1;
  let member = memberOf(local, id);
  let lane = member.lane;
  let groups = wholeGroups();
  // 1. load the Q tile
  if (Q_PLANES > 0) {
    for (var at = local; at < BLOCK_M * ROW_VECTORS; at += WORKGROUP) {
      let row = at / ROW_VECTORS;
      let vector = at % ROW_VECTORS;
      stage[placeOfQ(row, vector)] =
        q[qHead + u32(min(rowBegin + i32(row), lastRow)) * (params.rowStrideQ / 4u) + min(vector, params.planes - 1u)];
    }
  }
  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  let firstVisit = orLater(Visit(runs.begin - 1, Run(0, 0, -1), 0), runs.end, visited);
  let firstOut = split * params.totalQ * params.nHeads;

  // More than one turn only where groups are not whole.
  for (var done = 0u; done < ROW_GROUPS; done += groups) {
    let owns = done + member.group < ROW_GROUPS;
    let own = select(0u, done + member.group, owns);
    /// This group's rows are i … i + ROWS − 1.
    let i = rowBegin + i32(own * ROWS);
    var o: array<vec4f, ROWS * VECTORS>;
    var rowMax: PerRow;
    /// This lane's keys' share of the row sums.
    var rowSum: PerRow;
    for (var n = 0u; n < ROWS * VECTORS; n++) {
      o[n] = vec4f();
    }
    for (var r = 0u; r < ROWS; r++) {
      rowMax[r] = FLOOR;
      rowSum[r] = 0.0;
    }
    // 2. stage K
    var visit = firstVisit;
    if (visit.keyBegin < visit.run.end) {
      workgroupBarrier();
      keep(fetchK(kHead, visit.keyBegin, lastKey, local), 0u, local);
      workgroupBarrier();
    }
    while (visit.keyBegin < visit.run.end) {
      let run = visit.run;
      let keyBegin = visit.keyBegin;
      var fetched = fetchV(vHead, keyBegin, lastKey, local);
      // 3. S = q·kᵀ
      var s = Scores();
      for (var plane = 0u; plane < params.planes; plane++) {
        let at = placeInStage(4u * lane, plane);
        let k4 = transpose(mat4x4f(
          vec4f(stage[at]),
          vec4f(stage[at + ROW_VECTORS]),
          vec4f(stage[at + 2u * ROW_VECTORS]),
          vec4f(stage[at + 3u * ROW_VECTORS]),
        ));
        for (var r = 0u; r < ROWS; r++) {
          var q4: vec4f;
          if (Q_PLANES > 0) {
            q4 = vec4f(stage[placeOfQ(own * ROWS + r, plane)]);
          } else {
            q4 = vec4f(q[qHead + u32(min(i + i32(r), lastRow)) * (params.rowStrideQ / 4u) + plane]);
          }
          s[r] = addRow(s[r], q4, k4);
        }
      }
      // 3. scaled, capped, with ALiBi and bias; 4. masked
      let j = keyBegin + 4 * i32(lane) + vec4i(0, 1, 2, 3);
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      s = changed(s, i, j, all, run, sequence, head);
      // 4. new maxima, and rescale O; P = exp(S − m), 0 where masked
      var most: PerRow;
      for (var r = 0u; r < ROWS; r++) {
        most[r] = most4(s[r]);
      }
      most = larger(rowMax, mostOfGroup(most));
      for (var r = 0u; r < ROWS; r++) {
        let rescale = exp(rowMax[r] - most[r]);
        rowMax[r] = most[r];
        s[r] = exp(s[r] - most[r]);
        rowSum[r] = fma(rowSum[r], rescale, sum4(s[r]));
        for (var c = 0u; c < VECTORS; c++) {
          o[r * VECTORS + c] *= rescale;
        }
      }
      if (GENERAL && params.hasDropout == 1u) {
        s = dropped(s, head.batchHead, i, j.x / 4);
      }
      // 5. stage V, and O += P·v, with dropout on P, of which the row sum knows nothing
      keep(fetched, TILE, local);
      workgroupBarrier();
      visit.keyBegin += BLOCK_N;
      visit = orLater(visit, runs.end, visited);
      if (visit.keyBegin < visit.run.end) {
        fetched = fetchK(kHead, visit.keyBegin, lastKey, local);
      }
      for (var e = 0u; e < 4u; e++) {
        // key e of the lane at each distance
        var ofKey: PerRow;
        for (var r = 0u; r < ROWS; r++) {
          ofKey[r] = s[r].x;
        }
        for (var distance = 0u; distance < distances(); distance++) {
          let at = TILE + placeInStage(4u * (lane ^ distance), lane) + e * ROW_VECTORS;
          let p = flipped(ofKey, distance);
          for (var c = 0u; c < VECTORS; c++) {
            let values = vec4f(stage[at + c * LANES]);
            for (var r = 0u; r < ROWS; r++) {
              o[r * VECTORS + c] = fma(vec4f(p[r]), values, o[r * VECTORS + c]);
            }
          }
        }
        for (var r = 0u; r < ROWS; r++) {
          s[r] = s[r].yzwx;
        }
      }
      // 2. stage the next K
      if (visit.keyBegin < visit.run.end) {
        keep(fetched, 0u, local);
        workgroupBarrier();
      }
    }

    // 6. divide by the row sums once, the sink's share counted, and write O and lse
    rowSum = sumOfGroup(rowSum);
    for (var r = 0u; r < ROWS; r++) {
      let total = totalOf(vec4f(rowSum[r]), vec4f(rowMax[r]), h);
      let row = i + i32(r);
      if (owns && row <= lastRow) {
        if (lane == 0u) {
          lse[firstOut + lseOf(b, sequence.beginQ, h) + u32(row)] = total.lse.x;
        }
        for (var c = 0u; c < VECTORS; c++) {
          storeOut(firstOut + u32(sequence.beginQ + row) * params.nHeads + h, 4u * (c * LANES + lane), o[r * VECTORS + c] * total.rescale.x);
        }
      }
    }
  }
}
