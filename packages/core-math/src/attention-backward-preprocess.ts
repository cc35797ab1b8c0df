import { dot, type Rows } from './attention-problem'

/** delta_i = Σ_d dout_id·out_id, which softmax's gradient subtracts from dP (arXiv 2205.14135, appendix B.2, eq. 4). */
export function attentionBackwardPreprocess(dout: Rows, out: Rows): Float64Array {
  return Float64Array.from(dout, (row, i) => dot(row, out[i] as Float64Array))
}
