/**
 * Causal attention of one head, [seqlen, headDim], and its gradient, pair by pair, as the formulas say it (arXiv 2205.14135, appendix B), with every
 * operation rounded by `round`.
 */
export function naiveAttention(q, k, v, dout, { seqlen, headDim, softmaxScale, round }) {
  const dot = (a, i, b, j) => {
    let sum = 0
    for (let d = 0; d < headDim; d++) sum = round(sum + round(a[i * headDim + d] * b[j * headDim + d]))
    return sum
  }
  const addTo = (target, i, factor, source, j) => {
    for (let d = 0; d < headDim; d++) target[i * headDim + d] = round(target[i * headDim + d] + round(factor * source[j * headDim + d]))
  }
  const [out, dq, dk, dv] = Array.from({ length: 4 }, () => new Float64Array(seqlen * headDim))
  for (let i = 0; i < seqlen; i++) {
    // 1. p = softmax of the scores of the keys up to i
    const scores = Array.from({ length: i + 1 }, (_, j) => round(softmaxScale * dot(q, i, k, j)))
    const rowMax = Math.max(...scores)
    const exps = scores.map((score) => round(Math.exp(round(score - rowMax))))
    const rowSum = exps.reduce((sum, value) => round(sum + value), 0)
    const p = exps.map((value) => round(value / rowSum))
    for (const [j, probability] of p.entries()) addTo(out, i, probability, v, j)
    // 2. ds = p ∘ (dp − delta)
    const dp = p.map((_, j) => dot(dout, i, v, j))
    const delta = p.reduce((sum, probability, j) => round(sum + round(probability * dp[j])), 0)
    p.forEach((probability, j) => {
      const ds = round(softmaxScale * round(probability * round(dp[j] - delta)))
      addTo(dq, i, ds, k, j)
      addTo(dk, j, ds, q, i)
      addTo(dv, j, probability, dout, i)
    })
  }
  return { out, dq, dk, dv }
}
