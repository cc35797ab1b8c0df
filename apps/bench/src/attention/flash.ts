import type { Backend } from '@tilegrad/tensor'
import type { AttentionResult, AttentionShape, AttentionTensors } from './problem'

/** The backend's own attention. */
export function flashAttention(
  backend: Backend,
  { q, k, v, dout }: AttentionTensors,
  { causal }: AttentionShape,
  backward: boolean,
): AttentionResult {
  const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal })
  if (!backward) return { out, lse }
  return { out, lse, gradients: backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal }) }
}
