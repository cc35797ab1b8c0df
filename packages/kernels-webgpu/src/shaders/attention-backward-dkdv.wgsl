// dK and dV: key blocks outside, and inside the query heads that share a key head and the query blocks that see the key block. Mirrors
// core-math/src/attention-backward-dkdv.ts. A workgroup owns BLOCK keys, whose K and V tiles it keeps in workgroup memory; an invocation owns a query row of
// a tile while P and dS are computed, and a column of dK and of dV while these are summed, each against all BLOCK keys, in registers.
// FLOPs: 4·Sq·Sk·(D + Dv) per query head. Bytes: Q and dO twice for BLOCK keys, everything else once.

@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> dout: array<Element>;
@group(0) @binding(2) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(3) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
@group(0) @binding(6) var<storage, read_write> dk: array<Element>;
@group(0) @binding(7) var<storage, read_write> dv: array<Element>;

/// Four keys a vector.
const QUADS = BLOCK / 4;

/// [4·PLANES][QUADS]
var<workgroup> kTile: array<vec4f, 4 * PLANES * QUADS>;
var<workgroup> vTile: array<vec4f, 4 * PLANES * QUADS>;
/// [QUADS][WORKGROUP]
var<workgroup> pTile: array<vec4f, QUADS * WORKGROUP>;
var<workgroup> dsTile: array<vec4f, QUADS * WORKGROUP>;

/// Element 4·plane + e of keys j … j + 3.
fn loadKeys(base: u32, plane: u32, e: u32, j: i32, seqlenK: i32) -> vec4f {
  var values: vec4f;
  for (var n = 0; n < 4; n++) {
    let value = packedK[base + plane * params.totalK + u32(min(j + n, seqlenK - 1))][e];
    values[n] = select(0.0, value, j + n < seqlenK);
  }
  return values;
}

@compute @workgroup_size(WORKGROUP)
fn attentionBackwardDkdv(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let b = params.firstBatch + workgroup.z;
  let hk = workgroup.y;
  let sequence = sequenceOf(b);
  let keyBegin = i32(workgroup.x * BLOCK);
  let keyEnd = keyBegin + BLOCK;
  if (keyBegin >= sequence.seqlenK) {
    return;
  }
  // 1. load the K and V tiles, four keys a vector
  let planesOfKey = params.planes + params.planesV;
  let kHead = hk * planesOfKey * params.totalK + u32(sequence.beginK);
  for (var at = local; at < 4u * planesOfKey * QUADS; at += WORKGROUP) {
    let d = at / QUADS;
    let values = loadKeys(kHead, d / 4u, d % 4u, keyBegin + i32(4u * (at % QUADS)), sequence.seqlenK);
    if (d < 4u * params.planes) {
      kTile[at] = values;
    } else {
      vTile[at - 4u * params.planes * QUADS] = values;
    }
  }
  workgroupBarrier();

  var dkSum: array<vec4f, QUADS>;
  var dvSum: array<vec4f, QUADS>;
  var s: array<vec4f, QUADS>;
  var dp: array<vec4f, QUADS>;
  let visited = visitedQueries(sequence, keyBegin, min(keyEnd, sequence.seqlenK));
  for (var h = hk * params.groupSize; h < (hk + 1u) * params.groupSize; h++) {
    let qPacked = h * (planesOfKey + 1u) * params.totalQ + u32(sequence.beginQ);
    let qColumn = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h) +
      min(local, params.headDim - 1u);
    let doutColumn = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginQ, h) +
      min(local, params.headDimV - 1u);
    let runs = runsOfKeys(b, h, keyBegin);
    for (var number = runs.begin; number < runs.end; number++) {
      let run = queriesOfRun(number, visited, WORKGROUP);
      for (var rowBegin = run.begin; rowBegin < run.end; rowBegin += WORKGROUP) {
        // 2. this invocation's query row
        let i = rowBegin + i32(local);
        let row = qPacked + u32(min(i, sequence.seqlenQ - 1));
        // 3. S = q·kᵀ
        for (var r = 0u; r < QUADS; r++) {
          s[r] = vec4f(0.0);
          dp[r] = vec4f(0.0);
        }
        for (var plane = 0u; plane < params.planes; plane++) {
          let x = packedQ[row + plane * params.totalQ];
          for (var r = 0u; r < QUADS; r++) {
            var sum = s[r];
            sum = fma(kTile[(4u * plane) * QUADS + r], vec4f(x.x), sum);
            sum = fma(kTile[(4u * plane + 1u) * QUADS + r], vec4f(x.y), sum);
            sum = fma(kTile[(4u * plane + 2u) * QUADS + r], vec4f(x.z), sum);
            s[r] = fma(kTile[(4u * plane + 3u) * QUADS + r], vec4f(x.w), sum);
          }
        }
        // 4. dP = dout·vᵀ
        for (var plane = 0u; plane < params.planesV; plane++) {
          let x = packedQ[row + (params.planes + plane) * params.totalQ];
          for (var r = 0u; r < QUADS; r++) {
            var sum = dp[r];
            sum = fma(vTile[(4u * plane) * QUADS + r], vec4f(x.x), sum);
            sum = fma(vTile[(4u * plane + 1u) * QUADS + r], vec4f(x.y), sum);
            sum = fma(vTile[(4u * plane + 2u) * QUADS + r], vec4f(x.z), sum);
            dp[r] = fma(vTile[(4u * plane + 3u) * QUADS + r], vec4f(x.w), sum);
          }
        }
        // 5. P, 6. dS
        let stats = packedQ[row + planesOfKey * params.totalQ];
        let head = scoreHead(b, h, sequence, stats.z);
        for (var r = 0u; r < QUADS; r++) {
          let firstKey = keyBegin + i32(4u * r);
          let j = firstKey + vec4i(0, 1, 2, 3);
          let seen = visible(sequence, run.bits, vec4i(i), j) & vec4<bool>(i < run.end);
          var dropout = vec4f(1.0);
          if (GENERAL && params.hasDropout == 1u) {
            dropout = dropoutFactors(head.batchHead, i, firstKey / 4);
          }
          let gradients = pairGradients(s[r], dp[r], seen, head, vec4i(i), j, vec4f(stats.x), vec4f(stats.y), dropout);
          pTile[r * WORKGROUP + local] = gradients.p;
          dsTile[r * WORKGROUP + local] = gradients.ds;
        }
        workgroupBarrier();
        // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
        let count = u32(min(WORKGROUP, run.end - rowBegin));
        let qAt = qColumn + u32(rowBegin) * params.rowStrideQ;
        let doutAt = doutColumn + u32(rowBegin) * params.rowStrideV;
        for (var n = 0u; n < count; n++) {
          let x = f32(q[qAt + n * params.rowStrideQ]);
          let y = f32(dout[doutAt + n * params.rowStrideV]);
          for (var r = 0u; r < QUADS; r++) {
            dkSum[r] = fma(dsTile[r * WORKGROUP + n], vec4f(x), dkSum[r]);
            dvSum[r] = fma(pTile[r * WORKGROUP + n], vec4f(y), dvSum[r]);
          }
        }
        workgroupBarrier();
      }
    }
  }
  // 10. write dK, with the softmax scale that S carries, and dV
  for (var r = 0u; r < QUADS; r++) {
    dsTile[r * WORKGROUP + local] = params.softmaxScale * dkSum[r];
    pTile[r * WORKGROUP + local] = dvSum[r];
  }
  let count = u32(min(keyEnd, sequence.seqlenK) - keyBegin);
  for (var n = 0u; n < count; n++) {
    let place = (u32(sequence.beginK + keyBegin) + n) * (params.nHeads / params.groupSize) + hk;
    if (local < params.headDim) {
      dk[place * params.headDim + local] = Element(dsTile[n / 4u * WORKGROUP + local][n % 4u]);
    }
    if (local < params.headDimV) {
      dv[place * params.headDimV + local] = Element(pTile[n / 4u * WORKGROUP + local][n % 4u]);
    }
  }
}
