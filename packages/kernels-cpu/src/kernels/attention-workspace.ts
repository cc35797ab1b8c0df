import type { AttentionProblem } from '@tilegrad/tensor'

/** Float32 elements of workspace that attention_forward needs with vectors of `lanes` floats. */
export function attentionForwardWorkspace(_problem: AttentionProblem, _lanes: number): number {
  return 0
}

/** Float32 elements of workspace that attention_backward needs with vectors of `lanes` floats. */
export function attentionBackwardWorkspace(_problem: AttentionProblem, _lanes: number): number {
  return 0
}

/** K/V splits of the forward pass. Depends on the problem alone: results must not depend on the number of threads. */
export function attentionForwardSplits(_problem: AttentionProblem): number {
  return 1
}
