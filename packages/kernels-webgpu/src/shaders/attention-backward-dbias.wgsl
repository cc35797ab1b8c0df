// The gradient of bias: dS as softmax sees it, summed over the axes on which bias is broadcast. A workgroup owns BLOCK_M rows × BLOCK_N keys of it (all rows or
// all keys, where these share elements) and walks over everything that adds to them, in order; it recomputes S and dP: 2·Sq·Sk·(D + Dv) FLOPs per head more.

@group(0) @binding(4) var<storage, read_write> dbias: array<f32>;

/// Whether bias has an axis of its own for batch entries (3), heads (2), rows (1) or keys (0).
fn kept(axis: u32) -> bool {
  return ((params.biasAxes >> axis) & 1u) == 1u;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDbias(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let headsOfBias = select(1u, params.nHeads, kept(2u));
  let ownB = workgroup.z / headsOfBias;
  let ownH = workgroup.z % headsOfBias;
  let bEnd = select(params.batchSize, ownB + 1u, kept(3u));
  let hEnd = select(params.nHeads, ownH + 1u, kept(2u));
  let mBegin = i32(workgroup.y * BLOCK_M);
  let mEnd = select(params.seqlenQ, min(params.seqlenQ, mBegin + BLOCK_M), kept(1u));
  let nBegin = i32(workgroup.x * BLOCK_N);
  let nEnd = select(params.seqlenK, min(params.seqlenK, nBegin + BLOCK_N), kept(0u));
  let own = ownOf(local);
  var sum = Products();
  for (var b = ownB; b < bEnd; b++) {
    let sequence = sequenceOf(b);
    for (var h = ownH; h < hEnd; h++) {
      let rows = Rows((h * params.totalQ + u32(sequence.beginQ)) * (2u * ROW_VECTORS + 1u), sequence.seqlenQ - 1);
      let keys = Rows((h / params.groupSize * params.totalK + u32(sequence.beginK)) * (2u * ROW_VECTORS), sequence.seqlenK - 1);
      let head = scoreHead(b, h, sequence, packedQ[rows.at + 2u * ROW_VECTORS].z);
      for (var rowBegin = mBegin; rowBegin < min(mEnd, sequence.seqlenQ); rowBegin += BLOCK_M) {
        let rowEnd = min(rowBegin + BLOCK_M, sequence.seqlenQ);
        let visited = visitedKeys(sequence, rowBegin, rowEnd);
        let runs = runsOfRows(b, h, rowBegin);
        for (var number = runs.begin; number < runs.end; number++) {
          let run = keysOfRun(number, visited, BLOCK_N);
          let first = max(nBegin, run.begin / BLOCK_N * BLOCK_N);
          for (var keyBegin = first; keyBegin < min(nEnd, run.end); keyBegin += BLOCK_N) {
            // 3. S = q·kᵀ, 4. dP = dout·vᵀ
            var s = Products();
            var dp = Products();
            for (var turn = 0u; turn < turns(2u); turn++) {
              s = dp;
              dp = products(rows, keys, rowBegin, keyBegin, turn * ROW_VECTORS, local);
            }
            // 5. P, 6. dS
            for (var n = 0u; n < turns(ROWS); n++) {
              let i = rowBegin + i32(own.row + n * ROW_GROUPS);
              let j = keyBegin + i32(4u * own.quad);
              sum = pushed(sum, sum[0] + gradientsOfRow(rows, i, j, sequence, run.bits, head, s[0], dp[0]).dscore);
              s = pushed(s, vec4f());
              dp = pushed(dp, vec4f());
            }
          }
        }
      }
    }
  }
  // 9. write the sums, over keys and rows where these share elements
  for (var n = 0u; n < turns(ROWS); n++) {
    tile[(own.row + n * ROW_GROUPS) * KEY_QUADS + own.quad] = sum[0];
    sum = pushed(sum, vec4f());
  }
  workgroupBarrier();
  let rowsOfBias = select(1u, u32(params.seqlenQ), kept(1u));
  let keysOfBias = select(1u, u32(params.seqlenK), kept(0u));
  let base = workgroup.z * rowsOfBias * keysOfBias;
  let rowCount = select(1u, min(u32(BLOCK_M), rowsOfBias - u32(mBegin)), kept(1u));
  let keyCount = select(1u, min(u32(BLOCK_N), keysOfBias - u32(nBegin)), kept(0u));
  let rowsOfSum = select(u32(BLOCK_M), 1u, kept(1u));
  let keysOfSum = select(u32(BLOCK_N), 1u, kept(0u));
  for (var at = local; at < rowCount * keyCount; at += WORKGROUP) {
    let row = at / keyCount;
    let key = at % keyCount;
    var value = 0.0;
    for (var r = row; r < row + rowsOfSum; r++) {
      for (var n = key; n < key + keysOfSum; n++) {
        value += tile[r * KEY_QUADS + n / 4u][n % 4u];
      }
    }
    dbias[base + (u32(mBegin) + row) * keysOfBias + u32(nBegin) + key] = value;
  }
}
