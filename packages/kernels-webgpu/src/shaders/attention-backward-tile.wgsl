// Steps 5 and 6 of every backward pass, for four pairs: core-math/src/attention-backward-tile.ts.

/// P after dropout, for dV; dS, the gradient of softmaxScale·(q·k), for dQ and dK; and the gradient of the score as softmax sees it.
struct PairGradients {
  p: vec4f,
  ds: vec4f,
  dscore: vec4f,
}

fn pairGradients(
  products: vec4f, dp: vec4f, seen: vec4<bool>, head: ScoreHead, i: vec4i, j: vec4i, lse: vec4f, delta: vec4f, dropout: vec4f,
) -> PairGradients {
  // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias
  let capped = cappedScores(products);
  let scores = biasedScores(capped, head, i, j);
  // 5. P = exp(S − lse), 0 where masked; a row that sees no key subtracts 0 instead of −∞
  let shift = select(lse, vec4f(0.0), lse < vec4f(LOWEST));
  let p = select(vec4f(0.0), exp(scores - shift), seen & (scores > vec4f(LOWEST)));
  // 6. dS = P∘(dP − delta), with dropout on dP, and afterwards on P; and through the softcap
  let dscore = select(vec4f(0.0), p * (dp * dropout - delta), seen);
  return PairGradients(p * dropout, dscore * softcapSlope(capped), dscore);
}
