// Exact attention, forward: FlashAttention-2's loop order (arXiv 2307.08691, algorithm 1). Mirrors core-math/src/attention-forward.ts.
//
// Nested tiling: a workgroup owns BLOCK_M query rows of one head, whose Q tile it keeps in workgroup memory, and walks over tiles of BLOCK_N keys. In the
// scores' phase an invocation owns a key of the tile, in the output's phase a column of V, each against all BLOCK_M rows, in registers. So an element
// of K or V is read from memory by one invocation, once a workgroup, next to its neighbours' (k is packed for that, attention-pack.wgsl); what all
// invocations need, Q and P, is read from workgroup memory at one address at a time, four rows a vector, without bank conflicts.
//
// O is rescaled when the tile's maximum exceeds the row's by more than RESCALE_ABOVE, not for every growth: any maximum near the true one keeps exp in range and
// cancels in O/l and m + ln l. Most tiles then cost no exchange of maxima.
//
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once for BLOCK_M rows, everything else once.

@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<Element>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
/// ALiBi's slopes [B, Hq], then sinks [Hq].
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
/// Of each part of the keys, if they are split.
@group(0) @binding(6) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const BLOCK_N = WORKGROUP;
/// Four rows a vector.
const QUADS = BLOCK_M / 4;
/// Invocations that reduce a quad of rows together.
const SEGMENTS = WORKGROUP / QUADS;
const RESCALE_ABOVE = 8.0;

/// [4·PLANES][QUADS]
var<workgroup> qTile: array<vec4f, 4 * PLANES * QUADS>;
/// [QUADS][BLOCK_N]: probabilities; also scores and sums on their way to other invocations.
var<workgroup> pTile: array<vec4f, QUADS * BLOCK_N>;
var<workgroup> partials: array<vec4f, WORKGROUP>;
var<workgroup> rowMax: array<vec4f, QUADS>;
/// The factor of O of a row whose maximum has grown; at the end the factor that divides it.
var<workgroup> rescale: array<vec4f, QUADS>;
/// Whether some score is too large for its row's maximum.
var<workgroup> grown: atomic<u32>;
var<workgroup> someGrown: u32;

fn loadQ(base: u32, row: i32, seqlenQ: i32, d: u32) -> f32 {
  let at = base + u32(min(row, seqlenQ - 1)) * params.rowStrideQ + min(d, params.headDim - 1u);
  return select(0.0, f32(q[at]), row < seqlenQ && d < params.headDim);
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
  let hk = h / params.groupSize;
  let head = scoreHead(b, h, sequence, select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u));
  // 1. load the Q tile, four rows a vector
  let qHead = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h);
  let headDimPad = 4u * params.planes;
  for (var at = local; at < QUADS * headDimPad; at += WORKGROUP) {
    let d = at % headDimPad;
    let row = rowBegin + i32(4u * (at / headDimPad));
    qTile[d * QUADS + at / headDimPad] = vec4f(
      loadQ(qHead, row, sequence.seqlenQ, d),
      loadQ(qHead, row + 1, sequence.seqlenQ, d),
      loadQ(qHead, row + 2, sequence.seqlenQ, d),
      loadQ(qHead, row + 3, sequence.seqlenQ, d),
    );
  }
  if (local < QUADS) {
    rowMax[local] = vec4f(LOWEST);
  }
  if (local == 0u) {
    atomicStore(&grown, 0u);
  }
  workgroupBarrier();

  let kHead = hk * params.planes * params.totalK + u32(sequence.beginK);
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk);
  let vColumn = vHead + min(local, params.headDimV - 1u);
  var o: array<vec4f, QUADS>;
  var scores: array<vec4f, QUADS>;
  // This invocation's keys' share of the row sums.
  var rowSum: array<vec4f, QUADS>;

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. this invocation's key
      let j = keyBegin + i32(local);
      let key = kHead + u32(min(j, sequence.seqlenK - 1));
      // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias
      for (var r = 0u; r < QUADS; r++) {
        scores[r] = vec4f(0.0);
      }
      for (var plane = 0u; plane < params.planes; plane++) {
        let k = packedK[key + plane * params.totalK];
        for (var r = 0u; r < QUADS; r++) {
          var sum = scores[r];
          sum = fma(qTile[(4u * plane) * QUADS + r], vec4f(k.x), sum);
          sum = fma(qTile[(4u * plane + 1u) * QUADS + r], vec4f(k.y), sum);
          sum = fma(qTile[(4u * plane + 2u) * QUADS + r], vec4f(k.z), sum);
          scores[r] = fma(qTile[(4u * plane + 3u) * QUADS + r], vec4f(k.w), sum);
        }
      }
      // 4. mask, and see whether some row's maximum has to grow
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      var grows = false;
      for (var r = 0u; r < QUADS; r++) {
        let i = rowBegin + i32(4u * r) + vec4i(0, 1, 2, 3);
        var s = biasedScores(cappedScores(scores[r]), head, i, vec4i(j));
        if (!all) {
          s = select(vec4f(LOWEST), s, visible(sequence, run.bits, i, vec4i(j)) & vec4<bool>(j < run.end));
        }
        scores[r] = s;
        grows = grows || any(s > rowMax[r] + RESCALE_ABOVE);
      }
      if (grows) {
        atomicStore(&grown, 1u);
      }
      workgroupBarrier();
      if (local == 0u) {
        someGrown = atomicLoad(&grown);
        atomicStore(&grown, 0u);
      }
      if (workgroupUniformLoad(&someGrown) == 1u) {
        // 4. new maxima, and rescale O
        for (var r = 0u; r < QUADS; r++) {
          pTile[r * BLOCK_N + local] = scores[r];
        }
        workgroupBarrier();
        let quad = local / SEGMENTS;
        var most = vec4f(LOWEST);
        for (var n = local % SEGMENTS; n < params.workgroup; n += SEGMENTS) {
          most = max(most, pTile[quad * BLOCK_N + n]);
        }
        partials[local] = most;
        workgroupBarrier();
        if (local < QUADS) {
          let oldMax = rowMax[local];
          var newMax = oldMax;
          for (var segment = 0u; segment < params.workgroup / QUADS; segment++) {
            newMax = max(newMax, partials[local * SEGMENTS + segment]);
          }
          rowMax[local] = newMax;
          rescale[local] = exp(oldMax - newMax);
        }
        workgroupBarrier();
        for (var r = 0u; r < QUADS; r++) {
          rowSum[r] *= rescale[r];
          o[r] *= rescale[r];
        }
      }
      // 4. P = exp(S − m), 0 where masked
      for (var r = 0u; r < QUADS; r++) {
        var p = select(exp(scores[r] - rowMax[r]), vec4f(0.0), scores[r] <= vec4f(LOWEST));
        rowSum[r] += p;
        if (GENERAL && params.hasDropout == 1u) {
          p *= dropoutOfRows(head.batchHead, rowBegin + i32(4u * r), j);
        }
        pTile[r * BLOCK_N + local] = p;
      }
      workgroupBarrier();
      // 5. O += P·v, with dropout on P, of which the row sum knows nothing
      let count = u32(min(BLOCK_N, run.end - keyBegin));
      let column = vColumn + u32(keyBegin) * params.rowStrideV;
      var n = 0u;
      for (; n + 4u <= count; n += 4u) {
        let v0 = f32(v[column + n * params.rowStrideV]);
        let v1 = f32(v[column + (n + 1u) * params.rowStrideV]);
        let v2 = f32(v[column + (n + 2u) * params.rowStrideV]);
        let v3 = f32(v[column + (n + 3u) * params.rowStrideV]);
        for (var r = 0u; r < QUADS; r++) {
          var sum = o[r];
          sum = fma(pTile[r * BLOCK_N + n], vec4f(v0), sum);
          sum = fma(pTile[r * BLOCK_N + n + 1u], vec4f(v1), sum);
          sum = fma(pTile[r * BLOCK_N + n + 2u], vec4f(v2), sum);
          o[r] = fma(pTile[r * BLOCK_N + n + 3u], vec4f(v3), sum);
        }
      }
      for (; n < count; n++) {
        let value = f32(v[column + n * params.rowStrideV]);
        for (var r = 0u; r < QUADS; r++) {
          o[r] = fma(pTile[r * BLOCK_N + n], vec4f(value), o[r]);
        }
      }
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  workgroupBarrier();
  for (var r = 0u; r < QUADS; r++) {
    pTile[r * BLOCK_N + local] = rowSum[r];
  }
  workgroupBarrier();
  let quad = local / SEGMENTS;
  var partial: vec4f;
  for (var n = local % SEGMENTS; n < params.workgroup; n += SEGMENTS) {
    partial += pTile[quad * BLOCK_N + n];
  }
  partials[local] = partial;
  workgroupBarrier();
  let rows = split * params.totalQ * params.nHeads;
  if (local < QUADS) {
    var sum: vec4f;
    for (var segment = 0u; segment < params.workgroup / QUADS; segment++) {
      sum += partials[local * SEGMENTS + segment];
    }
    var most = rowMax[local];
    if (GENERAL && params.hasHeads == 1u && params.nSplits == 1u) {
      let sink = max(heads[params.batchSize * params.nHeads + h], LOWEST);
      let newMax = max(most, vec4f(sink));
      let own = exp(most - newMax);
      let sinkSum = select(vec4f(0.0), exp(sink - newMax), vec4<bool>(sink > LOWEST));
      rescale[local] = select(own / (sum * own + sinkSum), vec4f(0.0), sum * own + sinkSum == vec4f(0.0));
      sum = sum * own + sinkSum;
      most = newMax;
    } else {
      rescale[local] = select(1.0 / sum, vec4f(0.0), sum == vec4f(0.0));
    }
    let lses = select(most + log(sum), vec4f(params.minusInfinity), sum == vec4f(0.0));
    for (var e = 0u; e < 4u; e++) {
      let row = rowBegin + i32(4u * local + e);
      if (row < sequence.seqlenQ) {
        lse[rows + lseOf(b, sequence.beginQ, h) + u32(row)] = lses[e];
      }
    }
  }
  workgroupBarrier();
  for (var r = 0u; r < QUADS; r++) {
    pTile[r * BLOCK_N + local] = o[r] * rescale[r];
  }
  if (local < params.headDimV) {
    let count = u32(min(rowEnd, sequence.seqlenQ) - rowBegin);
    for (var row = 0u; row < count; row++) {
      let place = rows + (u32(sequence.beginQ + rowBegin) + row) * params.nHeads + h;
      out[place * params.headDimV + local] = OutElement(pTile[row / 4u * BLOCK_N + local][row % 4u]);
    }
  }
}

/// One of nSplits parts of the keys, in whole tiles.
fn partOf(keys: Range, split: u32) -> Range {
  if (params.nSplits == 1u) {
    return keys;
  }
  let first = keys.begin / BLOCK_N;
  let tiles = max(0, (keys.end + BLOCK_N - 1) / BLOCK_N - first);
  let begin = first + tiles * i32(split) / i32(params.nSplits);
  let end = first + tiles * i32(split + 1u) / i32(params.nSplits);
  return Range(max(keys.begin, begin * BLOCK_N), min(keys.end, end * BLOCK_N));
}
