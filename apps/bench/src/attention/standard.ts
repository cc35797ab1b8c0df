import type { Backend, Tensor } from '@tilegrad/tensor'
import type { AttentionShape } from './problem'
import type { AttentionTensors, TensorResult } from './tilegrad'

/**
 * Attention as matmul, softmax, matmul with the same backend's kernels, holding the S × S matrix of every head: what the tiled algorithm
 * is compared with. The backward pass reuses P and works in place where it can.
 */
export function standardAttention(backend: Backend, tensors: AttentionTensors, shape: AttentionShape, backward: boolean): TensorResult {
  const { kernels } = backend
  const scale = 1 / Math.sqrt(shape.headDim)
  return backend.scope(() => {
    // [B, S, H, D] → [B, H, S, D], without a copy.
    const byHead = (x: Tensor) => x.permute([0, 2, 1, 3])
    const [q, k, v] = [byHead(tensors.q), byHead(tensors.k), byHead(tensors.v)]
    const p = kernels.matmul(q, k, { transposeB: true })
    kernels.softmaxForward(p, { scale, causal: shape.causal, out: p })
    const out = byHead(kernels.matmul(p, v))
    if (!backward) return { out }
    const dout = byHead(tensors.dout)
    const dv = kernels.matmul(p, dout, { transposeA: true })
    const ds = kernels.matmul(dout, v, { transposeB: true })
    kernels.softmaxBackward(ds, p, { scale, out: ds })
    const dq = kernels.matmul(ds, k)
    const dk = kernels.matmul(ds, q, { transposeA: true })
    return { out, gradients: { dq: byHead(dq), dk: byHead(dk), dv: byHead(dv) } }
  })
}

/** Bytes that its Sq × Sk matrices take. */
export function standardBytes({ batchSize, nHeads, seqlenQ, seqlenK }: AttentionShape, backward: boolean): number {
  return (backward ? 2 : 1) * 4 * batchSize * nHeads * seqlenQ * seqlenK
}
