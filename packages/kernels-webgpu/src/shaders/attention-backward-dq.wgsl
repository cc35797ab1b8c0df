// dQ: query blocks outside, the key blocks that they see inside. Mirrors core-math/src/attention-backward-dq.ts. A workgroup owns BLOCK_M query rows, an
// invocation ROWS_OF_SUMS of them and VECTORS vectors of dQ.
// FLOPs: 2·Sq·Sk·(2·D + Dv) per query head. Bytes: Q, dO, K and V once a tile, and K once more.

/// [Hq][totalQ][rowVectors]
@group(0) @binding(4) var<storage, read_write> dqSums: array<vec4f>;
/// [B, Hq, nMBlocks]: −Σ distance·dS of each workgroup.
@group(0) @binding(5) var<storage, read_write> dslopes: array<f32>;

/// Keys that are staged at a time.
const STAGED_KEYS = min(BLOCK_N, STAGE / ROW_VECTORS);
/// Rows of dQ that an invocation sums: SUM_GROUPS apart.
const SUM_GROUPS = WORKGROUP / ROW_GROUPS;
const ROWS_OF_SUMS = BLOCK_M / SUM_GROUPS;

alias Sums = array<vec4f, ROWS_OF_SUMS * VECTORS>;

/// sums + tile·(the first ROW_VECTORS vectors of the keys from keyBegin on)
fn addProduct(sums: Sums, keys: Rows, keyBegin: i32, local: u32) -> Sums {
  let column = local % ROW_GROUPS;
  let group = local / ROW_GROUPS;
  var result = sums;
  for (var done = 0u; done < BLOCK_N; done += STAGED_KEYS) {
    workgroupBarrier();
    for (var at = local; at < STAGED_KEYS * ROW_VECTORS; at += WORKGROUP) {
      let key = u32(min(keyBegin + i32(done + at / ROW_VECTORS), keys.last));
      stage[at] = packedK[keys.at + key * (2u * ROW_VECTORS) + at % ROW_VECTORS];
    }
    workgroupBarrier();
    for (var n = 0u; n < turns(STAGED_KEYS); n += 4u) {
      for (var v = 0u; v < VECTORS; v++) {
        let at = n * ROW_VECTORS + v * ROW_GROUPS + column;
        let k0 = stage[at];
        let k1 = stage[at + ROW_VECTORS];
        let k2 = stage[at + 2u * ROW_VECTORS];
        let k3 = stage[at + 3u * ROW_VECTORS];
        for (var r = 0u; r < ROWS_OF_SUMS; r++) {
          let weights = tile[(r * SUM_GROUPS + group) * KEY_QUADS + (done + n) / 4u];
          let two = fma(vec4f(weights.y), k1, fma(vec4f(weights.x), k0, result[r * VECTORS + v]));
          result[r * VECTORS + v] = fma(vec4f(weights.w), k3, fma(vec4f(weights.z), k2, two));
        }
      }
    }
  }
  return result;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDq(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = params.firstBatch + workgroup.z;
  let h = workgroup.y;
  let hk = h / params.groupSize;
  let sequence = sequenceOf(b);
  // The last rows first: under a causal mask they see the most keys.
  let mBlock = params.nMBlocks - 1u - workgroup.x;
  let rowBegin = i32(mBlock * BLOCK_M);
  let rowEnd = min(rowBegin + BLOCK_M, sequence.seqlenQ);
  if (rowBegin >= sequence.seqlenQ) {
    return;
  }
  let own = ownOf(local);
  // 2. the Q and dout tiles
  let rows = Rows((h * params.totalQ + u32(sequence.beginQ)) * (2u * ROW_VECTORS + 1u), sequence.seqlenQ - 1);
  let keys = Rows((hk * params.totalK + u32(sequence.beginK)) * (2u * ROW_VECTORS), sequence.seqlenK - 1);
  let head = scoreHead(b, h, sequence, packedQ[rows.at + 2u * ROW_VECTORS].z);
  var dq = Sums();
  var dslope = 0.0;
  let visited = visitedKeys(sequence, rowBegin, rowEnd);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 1. the K and V tiles; 3. S = q·kᵀ, 4. dP = dout·vᵀ
      var s = Products();
      var dp = Products();
      for (var turn = 0u; turn < turns(2u); turn++) {
        s = dp;
        dp = products(rows, keys, rowBegin, keyBegin, turn * ROW_VECTORS, local);
      }
      // 5. P, 6. dS
      let j = keyBegin + i32(4u * own.quad);
      for (var n = 0u; n < turns(ROWS); n++) {
        let row = own.row + n * ROW_GROUPS;
        let i = rowBegin + i32(row);
        let gradients = gradientsOfRow(rows, i, j, sequence, run.bits, head, s[0], dp[0]);
        tile[row * KEY_QUADS + own.quad] = gradients.ds;
        if (GENERAL) {
          dslope -= dot(vec4f(distance4(head, vec4i(i), j + vec4i(0, 1, 2, 3))), gradients.dscore);
        }
        s = pushed(s, vec4f());
        dp = pushed(dp, vec4f());
      }
      // 7. dQ += dS·K
      dq = addProduct(dq, keys, keyBegin, local);
    }
  }
  // 9. write dQ
  let column = local % ROW_GROUPS;
  for (var r = 0u; r < turns(ROWS_OF_SUMS); r++) {
    let row = rowBegin + i32(r * SUM_GROUPS + local / ROW_GROUPS);
    let at = (h * params.totalQ + u32(sequence.beginQ + row)) * ROW_VECTORS + column;
    for (var v = 0u; v < VECTORS; v++) {
      if (row < rowEnd) {
        dqSums[at + v * ROW_GROUPS] = dq[v];
      }
    }
    for (var n = 0u; n < (ROWS_OF_SUMS - 1) * VECTORS; n++) {
      dq[n] = dq[n + VECTORS];
    }
  }
  if (GENERAL) {
    workgroupBarrier();
    tile[local] = vec4f(dslope);
    workgroupBarrier();
    if (local == 0u) {
      var sum = 0.0;
      for (var n = 0u; n < params.workgroup; n++) {
        sum += tile[n].x;
      }
      dslopes[(b * params.nHeads + h) * params.nMBlocks + mBlock] = sum;
    }
  }
}
