// Scores and probabilities of pairs, for the inspection kernels, which give an invocation a key or a row and read q and k where they lie.

/// What the pairs of a head of a sequence share.
struct PairHead {
  b: u32,
  h: u32,
  sequence: Sequence,
  score: ScoreHead,
  q: u32,
  k: u32,
}

fn pairHead(b: u32, h: u32) -> PairHead {
  let sequence = sequenceOf(b);
  let slope = select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u);
  return PairHead(
    b, h, sequence, scoreHead(b, h, sequence, slope),
    headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, 0, h),
    headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, 0, h / params.groupSize),
  );
}

/// Whether query i sees key j.
fn pairSeen(head: PairHead, i: i32, j: i32) -> bool {
  let runs = runsOfRows(head.b, head.h, i);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, Range(0, head.sequence.seqlenK), 1);
    if (j >= run.begin && j < run.end) {
      return visible(head.sequence, run.bits, vec4i(i), vec4i(j)).x;
    }
  }
  return false;
}

/// The score of a pair, LOWEST where masked.
fn pairScore(head: PairHead, i: i32, j: i32) -> f32 {
  if (!pairSeen(head, i, j)) {
    return LOWEST;
  }
  var product = 0.0;
  let qAt = head.q + u32(i) * params.rowStrideQ;
  let kAt = head.k + u32(j) * params.rowStrideK;
  for (var d = 0u; d < params.headDim; d++) {
    product = fma(f32(q[qAt + d]), f32(k[kAt + d]), product);
  }
  return biasedScores(cappedScores(vec4f(product)), head.score, vec4i(i), vec4i(j)).x;
}

/// The scores of four queries from i on and key j, LOWEST where masked; `bits` are those of the run that they lie in.
fn scoresOfRows(head: PairHead, bits: i32, i: i32, j: i32) -> vec4f {
  let rows = vec4i(i, i + 1, i + 2, i + 3);
  let seen = visible(head.sequence, bits, rows, vec4i(j));
  if (!any(seen)) {
    return vec4f(LOWEST);
  }
  let at = head.q + vec4u(min(rows, vec4i(head.sequence.seqlenQ - 1))) * params.rowStrideQ;
  let kAt = head.k + u32(j) * params.rowStrideK;
  var products = vec4f(0.0);
  for (var d = 0u; d < params.headDim; d++) {
    let queries = vec4f(f32(q[at.x + d]), f32(q[at.y + d]), f32(q[at.z + d]), f32(q[at.w + d]));
    products = fma(queries, vec4f(f32(k[kAt + d])), products);
  }
  return select(vec4f(LOWEST), biasedScores(cappedScores(products), head.score, rows, vec4i(j)), seen);
}

/// The same of query i and four keys from j on.
fn scoresOfKeys(head: PairHead, bits: i32, i: i32, j: i32) -> vec4f {
  let keys = vec4i(j, j + 1, j + 2, j + 3);
  let seen = visible(head.sequence, bits, vec4i(i), keys);
  if (!any(seen)) {
    return vec4f(LOWEST);
  }
  let qAt = head.q + u32(i) * params.rowStrideQ;
  let at = head.k + vec4u(min(keys, vec4i(head.sequence.seqlenK - 1))) * params.rowStrideK;
  var products = vec4f(0.0);
  for (var d = 0u; d < params.headDim; d++) {
    let others = vec4f(f32(k[at.x + d]), f32(k[at.y + d]), f32(k[at.z + d]), f32(k[at.w + d]));
    products = fma(vec4f(f32(q[qAt + d])), others, products);
  }
  return select(vec4f(LOWEST), biasedScores(cappedScores(products), head.score, vec4i(i), keys), seen);
}

/// exp(S − lse), 0 where masked; a row that sees no key subtracts 0 instead of −∞.
fn pairProbability(score: f32, rowLse: f32) -> f32 {
  return select(exp(score - select(rowLse, 0.0, rowLse < LOWEST)), 0.0, score <= LOWEST);
}

/// lse of query i of a head. There is no v: lse begins at its place.
fn lseAt(head: PairHead, i: i32) -> f32 {
  return lse[params.startV + (head.b * params.nHeads + head.h) * u32(params.seqlenQ) + u32(i)];
}
