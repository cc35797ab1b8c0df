// attention-backward-dq.wgsl by way of subgroups of any size: the same numbered steps. A group owns ROWS query rows, a lane four keys of a tile for S, dP and dS, and
// VECTORS vectors of dQ. V and K of a tile are staged in turns: while one is multiplied, the other is on its way, so that a tile takes two barriers.

/// [Hq][totalQ][rowVectors]
@group(0) @binding(4) var<storage, read_write> dqSums: array<vec4f>;
/// [B, Hq, nMBlocks]: −Σ distance·dS of each workgroup.
@group(0) @binding(5) var<storage, read_write> dslopes: array<f32>;

/// The visit itself, or where its run is at an end, the first of a later run; with begin ≥ run.end where there is none.
fn orLater(visit: Visit, last: i32, visited: Range) -> Visit {
  var next = visit;
  while (next.begin >= next.run.end && next.number + 1 < last) {
    next.number++;
    next.run = keysOfRun(next.number, visited, TILE_ROWS);
    next.begin = next.run.begin;
  }
  return next;
}

/// 5. P, 6. dS of query rows from i on and keys j
fn gradientsOfRows(s: Pairs, dp: Pairs, rows: Rows, i: i32, j: vec4i, sequence: Sequence, bits: i32, head: ScoreHead) -> PairsGradients {
  var result: PairsGradients;
  for (var r = 0u; r < ROWS; r++) {
    let row = vec4i(i + i32(r));
    let statistics = packedQ[rows.at + u32(min(row.x, rows.last)) * STRIDE_Q + 2u * ROW_VECTORS];
    var dropout = vec4f(1.0);
    if (GENERAL && params.hasDropout == 1u) {
      dropout = dropoutFactors(head.batchHead, row.x, j.x / 4);
    }
    let seen = visible(sequence, bits, row, j);
    let gradients = pairGradients(s[r], dp[r], seen, head, row, j, vec4f(statistics.x), vec4f(statistics.y), dropout);
    result.ds[r] = gradients.ds;
    result.dscore[r] = gradients.dscore;
  }
  return result;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDq(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) id: u32,
) {
  let b = params.firstBatch + workgroup.z;
  let h = workgroup.y;
  let hk = h / params.groupSize;
  let sequence = sequenceOf(b);
  // The last rows first: under a causal mask they see the most keys.
  let mBlock = params.nMBlocks - 1u - workgroup.x;
  let rowBegin = i32(mBlock * OWN_ROWS);
  let rowEnd = min(rowBegin + OWN_ROWS, sequence.seqlenQ);
  if (rowBegin >= sequence.seqlenQ) {
    return;
  }
  let member = memberOf(local, id);
  let lane = member.lane;
  let groups = wholeGroups();
  let rows = Rows((h * params.totalQ + u32(sequence.beginQ)) * STRIDE_Q, sequence.seqlenQ - 1);
  let keys = Rows((hk * params.totalK + u32(sequence.beginK)) * STRIDE_K, sequence.seqlenK - 1);
  let head = scoreHead(b, h, sequence, packedQ[rows.at + 2u * ROW_VECTORS].z);
  let visited = visitedKeys(sequence, rowBegin, rowEnd);
  let runs = runsOfRows(b, h, rowBegin);
  let firstVisit = orLater(Visit(runs.begin - 1, Run(0, 0, -1), 0), runs.end, visited);
  /// This lane's share of −Σ distance·dS, by rows.
  var dslope: PerRow;

  // More than one turn only where groups are not whole.
  for (var done = 0u; done < ROW_GROUPS; done += groups) {
    let owns = done + member.group < ROW_GROUPS;
    // 2. the Q and dout tiles: this group's rows are i … i + ROWS − 1
    let i = rowBegin + i32(select(0u, done + member.group, owns) * ROWS);
    var dq = Sums();
    var visit = firstVisit;
    // 1. the V tile
    if (visit.begin < visit.run.end) {
      workgroupBarrier();
      keep(fetchK(keys, visit.begin, ROW_VECTORS, local), 0u, local);
      workgroupBarrier();
    }
    while (visit.begin < visit.run.end) {
      let bits = visit.run.bits;
      let j = visit.begin + 4 * i32(lane) + vec4i(0, 1, 2, 3);
      var fetched = fetchK(keys, visit.begin, 0u, local);
      // 4. dP = dout·vᵀ
      var dp = Pairs();
      for (var vector = 0u; vector < params.planes; vector++) {
        let v4 = fourRows(0u, lane, vector);
        for (var r = 0u; r < ROWS; r++) {
          dp[r] = addPairs(dp[r], packedQ[rows.at + u32(min(i + i32(r), rows.last)) * STRIDE_Q + ROW_VECTORS + vector], v4);
        }
      }
      // 1. the K tile
      keep(fetched, TILE, local);
      workgroupBarrier();
      visit.begin += TILE_ROWS;
      visit = orLater(visit, runs.end, visited);
      if (visit.begin < visit.run.end) {
        fetched = fetchK(keys, visit.begin, ROW_VECTORS, local);
      }
      // 3. S = q·kᵀ
      var s = Pairs();
      for (var vector = 0u; vector < params.planes; vector++) {
        let k4 = fourRows(TILE, lane, vector);
        for (var r = 0u; r < ROWS; r++) {
          s[r] = addPairs(s[r], packedQ[rows.at + u32(min(i + i32(r), rows.last)) * STRIDE_Q + vector], k4);
        }
      }
      // 5. P, 6. dS
      let gradients = gradientsOfRows(s, dp, rows, i, j, sequence, bits, head);
      if (GENERAL && owns) {
        for (var r = 0u; r < ROWS; r++) {
          dslope[r] -= dot(vec4f(distance4(head, vec4i(i + i32(r)), j)), gradients.dscore[r]);
        }
      }
      // 7. dQ += dS·K
      dq = addWeighted(dq, gradients.ds, TILE, lane);
      // 1. the next V tile
      if (visit.begin < visit.run.end) {
        keep(fetched, 0u, local);
        workgroupBarrier();
      }
    }
    // 9. write dQ
    for (var r = 0u; r < ROWS; r++) {
      let row = i + i32(r);
      if (owns && row < rowEnd) {
        for (var c = 0u; c < VECTORS; c++) {
          dqSums[(h * params.totalQ + u32(sequence.beginQ + row)) * ROW_VECTORS + c * LANES + lane] = dq[r * VECTORS + c];
        }
      }
    }
    if (GENERAL) {
      // By the number of rows, not of groups: sums have the same order whatever the order of groups.
      dslope = sumOfGroup(dslope);
      var sum = 0.0;
      for (var r = 0u; r < ROWS; r++) {
        sum += dslope[r];
      }
      dslope = PerRow();
      workgroupBarrier();
      if (owns && lane == 0u) {
        stage[TILE + done + member.group].x = sum;
      }
      workgroupBarrier();
      if (local == 0u) {
        dslopeOfBlock(done, min(done + groups, ROW_GROUPS), (b * params.nHeads + h) * params.nMBlocks + mBlock);
      }
    }
  }
}

/// Adds what groups have left in the stage to dslopes[at], which the first turn sets.
fn dslopeOfBlock(begin: u32, end: u32, at: u32) {
  var sum = 0.0;
  if (begin > 0u) {
    sum = dslopes[at];
  }
  for (var group = begin; group < end; group++) {
    sum += stage[TILE + group].x;
  }
  dslopes[at] = sum;
}
