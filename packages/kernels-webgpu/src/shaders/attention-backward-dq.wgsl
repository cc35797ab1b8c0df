// dQ: query blocks outside, the key blocks that they see inside. Mirrors core-math/src/attention-backward-dq.ts. A workgroup owns BLOCK query rows, whose Q and
// dO tiles it keeps in workgroup memory; an invocation owns a key of a tile while dS is computed, and a column of dQ while that is summed.
// FLOPs: 2·Sq·Sk·(2·D + Dv) per query head. Bytes: K twice and V once for BLOCK rows, everything else once.

@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<Element>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> tables: array<i32>;
@group(0) @binding(5) var<storage, read_write> dq: array<Element>;
/// [B, Hq, nMBlocks]: −Σ distance·dS of each workgroup.
@group(0) @binding(6) var<storage, read_write> dslopes: array<f32>;

/// Four rows a vector.
const QUADS = BLOCK / 4;

/// [4·PLANES][QUADS]
var<workgroup> qTile: array<vec4f, 4 * PLANES * QUADS>;
var<workgroup> doutTile: array<vec4f, 4 * PLANES * QUADS>;
/// [QUADS][WORKGROUP]
var<workgroup> dsTile: array<vec4f, QUADS * WORKGROUP>;

/// Element 4·plane + e of rows i … i + 3.
fn loadRows(base: u32, plane: u32, e: u32, i: i32, seqlenQ: i32) -> vec4f {
  var values: vec4f;
  for (var n = 0; n < 4; n++) {
    let value = packedQ[base + plane * params.totalQ + u32(min(i + n, seqlenQ - 1))][e];
    values[n] = select(0.0, value, i + n < seqlenQ);
  }
  return values;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDq(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = params.firstBatch + workgroup.z;
  let h = workgroup.y;
  let hk = h / params.groupSize;
  let sequence = sequenceOf(b);
  let mBlock = params.nMBlocks - 1u - workgroup.x;
  let rowBegin = i32(mBlock * BLOCK);
  let rowEnd = rowBegin + BLOCK;
  let place = (b * params.nHeads + h) * params.nMBlocks + mBlock;
  if (rowBegin >= sequence.seqlenQ) {
    if (local == 0u) {
      dslopes[place] = 0.0;
    }
    return;
  }
  // 2. load the Q and dout tiles, which stay
  let planesOfKey = params.planes + params.planesV;
  let qHead = h * (planesOfKey + 1u) * params.totalQ + u32(sequence.beginQ);
  for (var at = local; at < 4u * planesOfKey * QUADS; at += WORKGROUP) {
    let d = at / QUADS;
    let values = loadRows(qHead, d / 4u, d % 4u, rowBegin + i32(4u * (at % QUADS)), sequence.seqlenQ);
    if (d < 4u * params.planes) {
      qTile[at] = values;
    } else {
      doutTile[at - 4u * params.planes * QUADS] = values;
    }
  }
  var lse: array<vec4f, QUADS>;
  var delta: array<vec4f, QUADS>;
  for (var r = 0u; r < QUADS; r++) {
    lse[r] = loadRows(qHead, planesOfKey, 0u, rowBegin + i32(4u * r), sequence.seqlenQ);
    delta[r] = loadRows(qHead, planesOfKey, 1u, rowBegin + i32(4u * r), sequence.seqlenQ);
  }
  let head = scoreHead(b, h, sequence, packedQ[qHead + planesOfKey * params.totalQ + u32(rowBegin)].z);
  workgroupBarrier();

  let kPacked = hk * planesOfKey * params.totalK + u32(sequence.beginK);
  let kColumn = headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, sequence.beginK, hk) +
    min(local, params.headDim - 1u);
  var dqSum: array<vec4f, QUADS>;
  var s: array<vec4f, QUADS>;
  var dp: array<vec4f, QUADS>;
  var dslope = 0.0;
  let visited = visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ));
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, WORKGROUP);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += WORKGROUP) {
      // 1. this invocation's key
      let j = keyBegin + i32(local);
      let key = kPacked + u32(min(j, sequence.seqlenK - 1));
      // 3. S = q·kᵀ
      for (var r = 0u; r < QUADS; r++) {
        s[r] = vec4f(0.0);
        dp[r] = vec4f(0.0);
      }
      for (var plane = 0u; plane < params.planes; plane++) {
        let x = packedK[key + plane * params.totalK];
        for (var r = 0u; r < QUADS; r++) {
          var sum = s[r];
          sum = fma(qTile[(4u * plane) * QUADS + r], vec4f(x.x), sum);
          sum = fma(qTile[(4u * plane + 1u) * QUADS + r], vec4f(x.y), sum);
          sum = fma(qTile[(4u * plane + 2u) * QUADS + r], vec4f(x.z), sum);
          s[r] = fma(qTile[(4u * plane + 3u) * QUADS + r], vec4f(x.w), sum);
        }
      }
      // 4. dP = dout·vᵀ
      for (var plane = 0u; plane < params.planesV; plane++) {
        let x = packedK[key + (params.planes + plane) * params.totalK];
        for (var r = 0u; r < QUADS; r++) {
          var sum = dp[r];
          sum = fma(doutTile[(4u * plane) * QUADS + r], vec4f(x.x), sum);
          sum = fma(doutTile[(4u * plane + 1u) * QUADS + r], vec4f(x.y), sum);
          sum = fma(doutTile[(4u * plane + 2u) * QUADS + r], vec4f(x.z), sum);
          dp[r] = fma(doutTile[(4u * plane + 3u) * QUADS + r], vec4f(x.w), sum);
        }
      }
      // 5. P, 6. dS
      for (var r = 0u; r < QUADS; r++) {
        let firstRow = rowBegin + i32(4u * r);
        let i = firstRow + vec4i(0, 1, 2, 3);
        let seen = visible(sequence, run.bits, i, vec4i(j)) & vec4<bool>(j < run.end);
        var dropout = vec4f(1.0);
        if (GENERAL && params.hasDropout == 1u) {
          dropout = dropoutOfRows(head.batchHead, firstRow, j);
        }
        let gradients = pairGradients(s[r], dp[r], seen, head, i, vec4i(j), lse[r], delta[r], dropout);
        dsTile[r * WORKGROUP + local] = gradients.ds;
        if (GENERAL) {
          dslope -= dot(vec4f(distance4(head, i, vec4i(j))), gradients.dscore);
        }
      }
      workgroupBarrier();
      // 7. dQ += dS·K
      let count = u32(min(WORKGROUP, run.end - keyBegin));
      let kAt = kColumn + u32(keyBegin) * params.rowStrideK;
      for (var n = 0u; n < count; n++) {
        let x = f32(k[kAt + n * params.rowStrideK]);
        for (var r = 0u; r < QUADS; r++) {
          dqSum[r] = fma(dsTile[r * WORKGROUP + n], vec4f(x), dqSum[r]);
        }
      }
      workgroupBarrier();
    }
  }
  // 9. write dQ, with the softmax scale that S carries
  for (var r = 0u; r < QUADS; r++) {
    dsTile[r * WORKGROUP + local] = params.softmaxScale * dqSum[r];
  }
  if (local < params.headDim) {
    let count = u32(min(rowEnd, sequence.seqlenQ) - rowBegin);
    for (var n = 0u; n < count; n++) {
      let row = (u32(sequence.beginQ + rowBegin) + n) * params.nHeads + h;
      dq[row * params.headDim + local] = Element(dsTile[n / 4u * WORKGROUP + local][n % 4u]);
    }
  }
  if (GENERAL) {
    workgroupBarrier();
    dsTile[local] = vec4f(dslope);
    workgroupBarrier();
    if (local == 0u) {
      var sum = 0.0;
      for (var n = 0u; n < params.workgroup; n++) {
        sum += dsTile[n].x;
      }
      dslopes[place] = sum;
    }
  }
}
