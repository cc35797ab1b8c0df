// attention-backward-dkdv.wgsl by way of subgroups of any size: the same numbered steps, transposed. A group owns ROWS keys, a lane four query rows of a tile for S, dP,
// P and dS, and VECTORS vectors of dK and of dV. Q and dout of a tile are staged together: they are read twice, by rows and by columns.

/// [Hk][totalK][2·rowVectors]: dK and dV.
@group(0) @binding(4) var<storage, read_write> dkdvSums: array<vec4f>;

/// The visit itself, or where its run is at an end, the first of a later run; with begin ≥ run.end where there is none.
fn orLater(visit: Visit, last: i32, visited: Range) -> Visit {
  var next = visit;
  while (next.begin >= next.run.end && next.number + 1 < last) {
    next.number++;
    next.run = queriesOfRun(next.number, visited, TILE_ROWS);
    next.begin = next.run.begin;
  }
  return next;
}

/// What dropout multiplies by: of keys from j on, a multiple of ROWS, a column each, and of queries i … i + 3.
fn dropoutOfKeys(batchHead: u32, i: i32, j: i32) -> mat4x4f {
  let j4 = j / 4;
  let factors = transpose(mat4x4f(
    dropoutFactors(batchHead, i, j4),
    dropoutFactors(batchHead, i + 1, j4),
    dropoutFactors(batchHead, i + 2, j4),
    dropoutFactors(batchHead, i + 3, j4),
  ));
  if (j % 4 == 2) {
    return mat4x4f(factors[2], factors[3], factors[0], factors[1]);
  }
  return factors;
}

/// 5. P, 6. dS of query rows firstRow … firstRow + 3 and keys from j on
fn gradientsOfKeys(
  s: Pairs, dp: Pairs, rows: Rows, firstRow: i32, j: i32, sequence: Sequence, run: Run, head: ScoreHead,
) -> PairsGradients {
  var result: PairsGradients;
  let i = firstRow + vec4i(0, 1, 2, 3);
  var rowLse: vec4f;
  var delta: vec4f;
  for (var e = 0u; e < 4u; e++) {
    let statistics = packedQ[rows.at + u32(min(firstRow + i32(e), rows.last)) * STRIDE_Q + 2u * ROW_VECTORS];
    rowLse = vec4f(rowLse.yzw, statistics.x);
    delta = vec4f(delta.yzw, statistics.y);
  }
  var dropout = mat4x4f(vec4f(1.0), vec4f(1.0), vec4f(1.0), vec4f(1.0));
  if (GENERAL && params.hasDropout == 1u) {
    dropout = dropoutOfKeys(head.batchHead, firstRow, j);
  }
  for (var r = 0u; r < ROWS; r++) {
    let key = vec4i(j + i32(r));
    let seen = visible(sequence, run.bits, i, key) & (i < vec4i(run.end));
    let gradients = pairGradients(s[r], dp[r], seen, head, i, key, rowLse, delta, dropout[0]);
    result.p[r] = gradients.p;
    result.ds[r] = gradients.ds;
    dropout = mat4x4f(dropout[1], dropout[2], dropout[3], dropout[0]);
  }
  return result;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDkdv(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_index) local: u32,
  @builtin(subgroup_invocation_id) id: u32,
) {
  let b = params.firstBatch + workgroup.z;
  let hk = workgroup.y;
  let sequence = sequenceOf(b);
  let keyBegin = i32(workgroup.x * OWN_ROWS);
  if (keyBegin >= sequence.seqlenK) {
    return;
  }
  let member = memberOf(local, id);
  let lane = member.lane;
  let groups = wholeGroups();
  let keys = Rows((hk * params.totalK + u32(sequence.beginK)) * STRIDE_K, sequence.seqlenK - 1);
  let visited = visitedQueries(sequence, keyBegin, min(keyBegin + OWN_ROWS, sequence.seqlenK));

  // More than one turn only where groups are not whole.
  for (var done = 0u; done < ROW_GROUPS; done += groups) {
    let owns = done + member.group < ROW_GROUPS;
    // 1. the K and V tiles: this group's keys are j … j + ROWS − 1
    let j = keyBegin + i32(select(0u, done + member.group, owns) * ROWS);
    var dk = Sums();
    var dv = Sums();
    for (var h = hk * params.groupSize; h < (hk + 1u) * params.groupSize; h++) {
      let rows = Rows((h * params.totalQ + u32(sequence.beginQ)) * STRIDE_Q, sequence.seqlenQ - 1);
      let head = scoreHead(b, h, sequence, packedQ[rows.at + 2u * ROW_VECTORS].z);
      let runs = runsOfKeys(b, h, keyBegin);
      var visit = orLater(Visit(runs.begin - 1, Run(0, 0, -1), 0), runs.end, visited);
      while (visit.begin < visit.run.end) {
        // 2. the Q and dout tiles
        workgroupBarrier();
        keep(fetchQ(rows, visit.begin, 0u, local), 0u, local);
        keep(fetchQ(rows, visit.begin, ROW_VECTORS, local), TILE, local);
        workgroupBarrier();
        let firstRow = visit.begin + 4 * i32(lane);
        // 3. S = q·kᵀ, 4. dP = dout·vᵀ
        var s = Pairs();
        var dp = Pairs();
        for (var vector = 0u; vector < params.planes; vector++) {
          let q4 = fourRows(0u, lane, vector);
          for (var r = 0u; r < ROWS; r++) {
            s[r] = addPairs(s[r], packedK[keys.at + u32(min(j + i32(r), keys.last)) * STRIDE_K + vector], q4);
          }
        }
        for (var vector = 0u; vector < params.planes; vector++) {
          let dout4 = fourRows(TILE, lane, vector);
          for (var r = 0u; r < ROWS; r++) {
            dp[r] = addPairs(dp[r], packedK[keys.at + u32(min(j + i32(r), keys.last)) * STRIDE_K + ROW_VECTORS + vector], dout4);
          }
        }
        // 5. P, 6. dS
        let gradients = gradientsOfKeys(s, dp, rows, firstRow, j, sequence, visit.run, head);
        // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
        dv = addWeighted(dv, gradients.p, TILE, lane);
        dk = addWeighted(dk, gradients.ds, 0u, lane);
        visit.begin += TILE_ROWS;
        visit = orLater(visit, runs.end, visited);
      }
    }
    // 10. write dK and dV
    for (var r = 0u; r < ROWS; r++) {
      let key = j + i32(r);
      if (owns && key <= keys.last) {
        for (var c = 0u; c < VECTORS; c++) {
          let at = keys.at + u32(key) * STRIDE_K + c * LANES + lane;
          dkdvSums[at] = dk[r * VECTORS + c];
          dkdvSums[at + ROW_VECTORS] = dv[r * VECTORS + c];
        }
      }
    }
  }
}
