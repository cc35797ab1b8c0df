// The probability of one pair, for the inspection kernels, which give an invocation a key or a row and read q and k where they lie.

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

/// exp(S − lse), 0 where masked; a row that sees no key subtracts 0 instead of −∞.
fn pairProbability(score: f32, rowLse: f32) -> f32 {
  return select(exp(score - select(rowLse, 0.0, rowLse < LOWEST)), 0.0, score <= LOWEST);
}

/// lse of query i of a head. There is no v: lse begins at its place.
fn lseAt(head: PairHead, i: i32) -> f32 {
  return lse[params.startV + (head.b * params.nHeads + head.h) * u32(params.seqlenQ) + u32(i)];
}
