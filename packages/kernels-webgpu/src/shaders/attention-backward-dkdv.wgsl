// dK and dV: key blocks outside, and inside the query heads that share a key head and the query blocks that see the key block. Mirrors
// core-math/src/attention-backward-dkdv.ts. A workgroup owns BLOCK_N keys, an invocation four of them and VECTORS vectors of dK and of dV.
// FLOPs: 4·Sq·Sk·(D + Dv) per query head. Bytes: Q, dO, K and V once a tile, and Q and dO once more.

/// [Hk][totalK][2·rowVectors]: dK and dV.
@group(0) @binding(4) var<storage, read_write> dkdvSums: array<vec4f>;

/// Rows that are staged at a time.
const STAGED_ROWS = min(BLOCK_M, STAGE / ROW_VECTORS);

/// Four keys by VECTORS vectors of an invocation.
alias Sums = array<vec4f, 4 * VECTORS>;

/// sums + tileᵀ·(the ROW_VECTORS vectors from `first` on of `count` rows from rowBegin on)
fn addTransposed(sums: Sums, rows: Rows, rowBegin: i32, count: u32, first: u32, local: u32) -> Sums {
  let own = ownOf(local);
  var result = sums;
  for (var done = 0u; done < count; done += STAGED_ROWS) {
    workgroupBarrier();
    for (var at = local; at < STAGED_ROWS * ROW_VECTORS; at += WORKGROUP) {
      let row = u32(min(rowBegin + i32(done + at / ROW_VECTORS), rows.last));
      stage[at] = packedQ[rows.at + row * (2u * ROW_VECTORS + 1u) + first + at % ROW_VECTORS];
    }
    workgroupBarrier();
    for (var n = 0u; n < min(count - done, STAGED_ROWS); n++) {
      let weights = tile[(done + n) * KEY_QUADS + own.quad];
      for (var v = 0u; v < VECTORS; v++) {
        let x = stage[n * ROW_VECTORS + v * ROW_GROUPS + own.row];
        result[4u * v] = fma(vec4f(weights.x), x, result[4u * v]);
        result[4u * v + 1u] = fma(vec4f(weights.y), x, result[4u * v + 1u]);
        result[4u * v + 2u] = fma(vec4f(weights.z), x, result[4u * v + 2u]);
        result[4u * v + 3u] = fma(vec4f(weights.w), x, result[4u * v + 3u]);
      }
    }
  }
  return result;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDkdv(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = params.firstBatch + workgroup.z;
  let hk = workgroup.y;
  let sequence = sequenceOf(b);
  let keyBegin = i32(workgroup.x * BLOCK_N);
  if (keyBegin >= sequence.seqlenK) {
    return;
  }
  let own = ownOf(local);
  let j = keyBegin + i32(4u * own.quad);
  // 1. the K and V tiles
  let keys = Rows((hk * params.totalK + u32(sequence.beginK)) * (2u * ROW_VECTORS), sequence.seqlenK - 1);
  var dk = Sums();
  var dv = Sums();
  let visited = visitedQueries(sequence, keyBegin, min(keyBegin + BLOCK_N, sequence.seqlenK));
  for (var h = hk * params.groupSize; h < (hk + 1u) * params.groupSize; h++) {
    // 2. the Q and dout tiles
    let rows = Rows((h * params.totalQ + u32(sequence.beginQ)) * (2u * ROW_VECTORS + 1u), sequence.seqlenQ - 1);
    let head = scoreHead(b, h, sequence, packedQ[rows.at + 2u * ROW_VECTORS].z);
    let runs = runsOfKeys(b, h, keyBegin);
    for (var number = runs.begin; number < runs.end; number++) {
      let run = queriesOfRun(number, visited, BLOCK_M);
      for (var rowBegin = run.begin; rowBegin < run.end; rowBegin += BLOCK_M) {
        // 3. S = q·kᵀ, 4. dP = dout·vᵀ
        var s = Products();
        var dp = Products();
        for (var turn = 0u; turn < turns(2u); turn++) {
          s = dp;
          dp = products(rows, keys, rowBegin, keyBegin, turn * ROW_VECTORS, local);
        }
        // 5. P, 6. dS
        var ds = Products();
        for (var n = 0u; n < turns(ROWS); n++) {
          let row = own.row + n * ROW_GROUPS;
          let gradients = gradientsOfRow(rows, rowBegin + i32(row), j, sequence, run.bits, head, s[0], dp[0]);
          tile[row * KEY_QUADS + own.quad] = gradients.p;
          s = pushed(s, vec4f());
          dp = pushed(dp, vec4f());
          ds = pushed(ds, gradients.ds);
        }
        // 8. dV += Pᵀ·dout, then dK += dSᵀ·Q: what is summed in a turn and what is not change places
        let count = u32(min(BLOCK_M, run.end - rowBegin));
        for (var turn = 0u; turn < turns(2u); turn++) {
          if (turn == 1u) {
            workgroupBarrier();
            for (var n = 0u; n < turns(ROWS); n++) {
              tile[(own.row + n * ROW_GROUPS) * KEY_QUADS + own.quad] = ds[0];
              ds = pushed(ds, vec4f());
            }
          }
          let sums = addTransposed(dv, rows, rowBegin, count, (1u - turn) * ROW_VECTORS, local);
          dv = dk;
          dk = sums;
        }
      }
    }
  }
  // 10. write dK and dV
  for (var n = 0u; n < turns(4u); n++) {
    let at = keys.at + u32(min(j + i32(n), keys.last)) * (2u * ROW_VECTORS) + own.row;
    for (var v = 0u; v < VECTORS; v++) {
      if (j + i32(n) <= keys.last) {
        dkdvSums[at + v * ROW_GROUPS] = dk[4u * v];
        dkdvSums[at + ROW_VECTORS + v * ROW_GROUPS] = dv[4u * v];
      }
    }
    for (var v = 0u; v < 4u * VECTORS - 1u; v++) {
      dk[v] = dk[v + 1u];
      dv[v] = dv[v + 1u];
    }
  }
}
