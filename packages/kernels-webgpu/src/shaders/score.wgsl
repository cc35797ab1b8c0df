// From q·k to the score that softmax sees, and its derivative: core-math/src/score.ts, here for four pairs at a time.

/// What scores depend on besides the pair: ALiBi's slope, seqlenK − seqlenQ, where the head's bias begins, and the head's number for dropout, b·Hq + h.
struct ScoreHead {
  slope: f32,
  shift: i32,
  bias: u32,
  batchHead: u32,
}

fn scoreHead(b: u32, h: u32, sequence: Sequence, slope: f32) -> ScoreHead {
  let biasBegin = params.startBias + b * params.batchStrideBias + h * params.headStrideBias;
  return ScoreHead(slope, sequence.seqlenK - sequence.seqlenQ, biasBegin, params.firstRandomHead + b * params.randomHeads + h);
}

/// tanh to the last bits near 0, where the built-in one may be a difference of exponentials, and for large x, where that may overflow.
fn tanhOf(x: vec4f) -> vec4f {
  let y = min(abs(x), vec4f(15.0));
  let square = y * y;
  // Continued fraction (Lambert): below 0.625 its error is under an ulp.
  let small = y * (135135.0 + square * (17325.0 + square * (378.0 + square))) /
    (135135.0 + square * (62370.0 + square * (3150.0 + square * 28.0)));
  let large = 1.0 - 2.0 / (exp(2.0 * y) + 1.0);
  return sign(x) * select(large, small, y < vec4f(0.625));
}

/// softmaxScale·(q·k), capped: what the softcap's derivative depends on.
fn cappedScores(products: vec4f) -> vec4f {
  let scores = params.softmaxScale * products;
  if (GENERAL && params.softcap > 0.0) {
    return params.softcap * tanhOf(scores / params.softcap);
  }
  return scores;
}

/// With ALiBi and bias; not yet masked.
fn biasedScores(capped: vec4f, head: ScoreHead, i: vec4i, j: vec4i) -> vec4f {
  if (!GENERAL) {
    return capped;
  }
  var scores = capped - head.slope * vec4f(distance4(head, i, j));
  if (params.hasBias == 1u) {
    let at = head.bias + vec4u(i) * params.rowStrideBias + vec4u(j) * params.keyStrideBias;
    scores += vec4f(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    scores = select(scores, vec4f(LOWEST), scores < vec4f(LOWEST));
  }
  return scores;
}

/// |i + seqlenK − seqlenQ − j|: how far key j is from where query i stands.
fn distance4(head: ScoreHead, i: vec4i, j: vec4i) -> vec4i {
  return abs(i + head.shift - j);
}

/// Derivative of the softcap at a capped score: d/dx c·tanh(x/c) = 1 − tanh²(x/c).
fn softcapSlope(capped: vec4f) -> vec4f {
  if (GENERAL && params.softcap > 0.0) {
    let t = capped / params.softcap;
    return 1.0 - t * t;
  }
  return vec4f(1.0);
}
