// The gradient of bias: dS as softmax sees it, summed over the axes on which bias is broadcast. A workgroup owns BLOCK rows × WORKGROUP keys of it (all rows or
// all keys, where these share elements) and walks over everything that adds to them, in order; it recomputes S and dP: 2·Sq·Sk·(D + Dv) FLOPs per head more.

@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;
@group(0) @binding(4) var<storage, read_write> dbias: array<f32>;

/// Four rows a vector.
const QUADS = BLOCK / 4;

/// [4·PLANES][QUADS]
var<workgroup> qTile: array<vec4f, 4 * PLANES * QUADS>;
var<workgroup> doutTile: array<vec4f, 4 * PLANES * QUADS>;
/// [QUADS][WORKGROUP]
var<workgroup> sums: array<vec4f, QUADS * WORKGROUP>;

/// Element 4·plane + e of rows i … i + 3.
fn loadRows(base: u32, plane: u32, e: u32, i: i32, seqlenQ: i32) -> vec4f {
  var values: vec4f;
  for (var n = 0; n < 4; n++) {
    let value = packedQ[base + plane * params.totalQ + u32(min(i + n, seqlenQ - 1))][e];
    values[n] = select(0.0, value, i + n < seqlenQ);
  }
  return values;
}

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
  let mBegin = i32(workgroup.y * BLOCK);
  let mEnd = select(params.seqlenQ, min(params.seqlenQ, mBegin + BLOCK), kept(1u));
  let nBegin = i32(workgroup.x * WORKGROUP);
  let nEnd = select(params.seqlenK, min(params.seqlenK, nBegin + WORKGROUP), kept(0u));
  let planesOfKey = params.planes + params.planesV;
  var sum: array<vec4f, QUADS>;
  var s: array<vec4f, QUADS>;
  var dp: array<vec4f, QUADS>;
  for (var b = ownB; b < bEnd; b++) {
    let sequence = sequenceOf(b);
    for (var h = ownH; h < hEnd; h++) {
      let qHead = h * (planesOfKey + 1u) * params.totalQ + u32(sequence.beginQ);
      let kPacked = h / params.groupSize * planesOfKey * params.totalK + u32(sequence.beginK);
      let head = scoreHead(b, h, sequence, packedQ[qHead + planesOfKey * params.totalQ].z);
      for (var rowBegin = mBegin; rowBegin < mEnd; rowBegin += BLOCK) {
        // 2. load the Q and dout tiles
        workgroupBarrier();
        for (var at = local; at < 4u * planesOfKey * QUADS; at += WORKGROUP) {
          let d = at / QUADS;
          let values = loadRows(qHead, d / 4u, d % 4u, rowBegin + i32(4u * (at % QUADS)), sequence.seqlenQ);
          if (d < 4u * params.planes) {
            qTile[at] = values;
          } else {
            doutTile[at - 4u * params.planes * QUADS] = values;
          }
        }
        workgroupBarrier();
        let visited = visitedKeys(sequence, rowBegin, min(rowBegin + BLOCK, sequence.seqlenQ));
        let runs = runsOfRows(b, h, rowBegin);
        for (var number = runs.begin; number < runs.end; number++) {
          let run = keysOfRun(number, visited, WORKGROUP);
          let first = max(nBegin, run.begin / WORKGROUP * WORKGROUP);
          for (var keyBegin = first; keyBegin < min(nEnd, run.end); keyBegin += WORKGROUP) {
            // 1. this invocation's key
            let j = keyBegin + i32(local);
            let key = kPacked + u32(min(j, sequence.seqlenK - 1));
            // 3. S = q·kᵀ
            for (var r = 0u; r < QUADS; r++) {
              s[r] = vec4f(0.0);
              dp[r] = vec4f(0.0);
            }
            for (var d = 0u; d < 4u * params.planes; d++) {
              let x = packedK[key + d / 4u * params.totalK][d % 4u];
              for (var r = 0u; r < QUADS; r++) {
                s[r] = fma(qTile[d * QUADS + r], vec4f(x), s[r]);
              }
            }
            // 4. dP = dout·vᵀ
            for (var d = 0u; d < 4u * params.planesV; d++) {
              let x = packedK[key + (params.planes + d / 4u) * params.totalK][d % 4u];
              for (var r = 0u; r < QUADS; r++) {
                dp[r] = fma(doutTile[d * QUADS + r], vec4f(x), dp[r]);
              }
            }
            // 5. P, 6. dS
            for (var r = 0u; r < QUADS; r++) {
              let firstRow = rowBegin + i32(4u * r);
              let i = firstRow + vec4i(0, 1, 2, 3);
              let seen = visible(sequence, run.bits, i, vec4i(j)) & vec4<bool>(j >= run.begin && j < run.end);
              var dropout = vec4f(1.0);
              if (params.hasDropout == 1u) {
                dropout = dropoutOfRows(head.batchHead, firstRow, j);
              }
              let lse = loadRows(qHead, planesOfKey, 0u, firstRow, sequence.seqlenQ);
              let delta = loadRows(qHead, planesOfKey, 1u, firstRow, sequence.seqlenQ);
              sum[r] += pairGradients(s[r], dp[r], seen, head, i, vec4i(j), lse, delta, dropout).dscore;
            }
          }
        }
      }
    }
  }
  // 9. write the sums, over keys and rows where these share elements
  for (var r = 0u; r < QUADS; r++) {
    sums[r * WORKGROUP + local] = sum[r];
  }
  workgroupBarrier();
  let rowsOfBias = select(1u, u32(params.seqlenQ), kept(1u));
  let keysOfBias = select(1u, u32(params.seqlenK), kept(0u));
  let base = workgroup.z * rowsOfBias * keysOfBias;
  if ((!kept(0u) && local > 0u) || nBegin + i32(local) >= params.seqlenK) {
    return;
  }
  let lanes = select(params.workgroup, 1u, kept(0u));
  var whole = 0.0;
  for (var row = 0u; row < BLOCK; row++) {
    var value = 0.0;
    for (var n = 0u; n < lanes; n++) {
      value += sums[row / 4u * WORKGROUP + local + n][row % 4u];
    }
    whole += value;
    if (kept(1u) && mBegin + i32(row) < params.seqlenQ) {
      dbias[base + (u32(mBegin) + row) * keysOfBias + select(0u, u32(nBegin) + local, kept(0u))] = value;
    }
  }
  if (!kept(1u)) {
    dbias[base + select(0u, u32(nBegin) + local, kept(0u))] = whole;
  }
}
