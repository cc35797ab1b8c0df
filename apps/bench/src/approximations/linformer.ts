import type { Backend, Tensor } from '@tilegrad/tensor'
import type { AttentionTensors } from '../attention/tilegrad'

/** Learned projections of the sequence, shared by all heads: of keys and of values, both [projectedLength, seqlenK]. */
export interface Projections {
  readonly e: Tensor
  readonly f: Tensor
}

/** Results of `linformerAttention`, the projected keys and values [B, projectedLength, H, D] and their gradients among them. */
export interface LinformerResult {
  readonly out: Tensor
  readonly lse: Tensor
  readonly projectedK: Tensor
  readonly projectedV: Tensor
  readonly gradients?: Readonly<Record<'dq' | 'dk' | 'dv' | 'de' | 'df' | 'dProjectedK' | 'dProjectedV', Tensor>>
}

/**
 * Linformer (arXiv 2006.04768, §4, with one E and one F for all heads, "headwise sharing"): attention to E·K and F·V instead of K and V, which
 * makes it linear in the length; not causal. The projections are matrix products, what is left is exact attention in tiles. Gradients are those of its
 * parts, of the projections too: dK = Eᵀ·d(EK), dE = d(EK)·Kᵀ.
 */
export function linformerAttention(
  backend: Backend,
  { q, k, v, dout }: AttentionTensors,
  { e, f }: Projections,
  backward: boolean,
): LinformerResult {
  const { kernels } = backend
  const projectedK = project(backend, e, k)
  const projectedV = project(backend, f, v)
  const { out, lse } = kernels.attentionForward(q, projectedK, projectedV)
  if (!backward) return { out, lse, projectedK, projectedV }
  const { dq, dk: dProjectedK, dv: dProjectedV } = kernels.attentionBackward(dout, q, projectedK, projectedV, out, lse)
  const keys = projectBackward(backend, dProjectedK, e, k)
  const values = projectBackward(backend, dProjectedV, f, v)
  const gradients = { dq, dk: keys.dx, dv: values.dx, de: keys.dprojection, df: values.dprojection, dProjectedK, dProjectedV }
  return { out, lse, projectedK, projectedV, gradients }
}

/** projection·x along the sequence: x [B, S, H, D] → [B, projectedLength, H, D]. */
function project(backend: Backend, projection: Tensor, x: Tensor): Tensor {
  const [rows = 0] = projection.shape
  const [batchSize = 0, , nHeads = 0, headDim = 0] = x.shape
  const projected = backend.zeros([batchSize, rows, nHeads, headDim])
  backend.scope(() => {
    for (let b = 0; b < batchSize; b++) backend.kernels.matmul(projection, sequence(x, b), { accumulateInto: sequence(projected, b) })
  })
  return projected
}

function projectBackward(backend: Backend, dprojected: Tensor, projection: Tensor, x: Tensor): { dx: Tensor; dprojection: Tensor } {
  const { kernels } = backend
  const [batchSize = 0] = x.shape
  const dx = backend.zeros(x.shape)
  const dprojection = backend.zeros(projection.shape)
  backend.scope(() => {
    for (let b = 0; b < batchSize; b++) {
      kernels.matmul(projection, sequence(dprojected, b), { transposeA: true, accumulateInto: sequence(dx, b) })
      kernels.matmul(sequence(dprojected, b), sequence(x, b), { transposeB: true, accumulateInto: dprojection })
    }
  })
  return { dx, dprojection }
}

/** One of a batch, with its heads side by side: [S, H·D]. */
function sequence(x: Tensor, b: number): Tensor {
  const [, seqlen = 0, nHeads = 0, headDim = 0] = x.shape
  return x.slice([b, 0, 0, 0], [b + 1, seqlen, nHeads, headDim]).reshape([seqlen, nHeads * headDim])
}
