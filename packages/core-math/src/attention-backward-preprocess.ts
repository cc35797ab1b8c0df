import { dot, type Rows } from './attention-problem'

/** delta_i = Σ_d dout_id·out_id, which softmax's gradient subtracts from dP (arXiv 2205.14135, appendix B.2, eq. 4). Dropout changes nothing of it. */
export function attentionBackwardPreprocess(dout: Rows, out: Rows): Float64Array {
  return Float64Array.from(dout, (row, i) => dot(row, out[i] as Float64Array))
}

/** The gradient of a head's sink: that of one more score whose dP is 0, −Σ_i exp(sink − lse_i)·delta_i. */
export function attentionBackwardSink(sink: number, lse: Float64Array, delta: Float64Array): number {
  if (sink === Number.NEGATIVE_INFINITY) return 0
  return lse.reduce((sum, l, i) => sum - Math.exp(sink - l) * (delta[i] as number), 0)
}
