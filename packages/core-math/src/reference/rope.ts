import { checkRopeBackward, checkRopeForward, type Kernels, type RopeProblem, type Tensor } from '@tilegrad/tensor'
import type { Reference } from './reference'

/** Rotary embedding and its inverse. */
export function ropeKernels(ref: Reference): Pick<Kernels, 'ropeForward' | 'ropeBackward'> {
  return {
    ropeForward: (x, cos, sin, options) => rotate(ref, x, cos, sin, checkRopeForward(ref.backend, x, cos, sin, options), 1),
    ropeBackward: (dout, cos, sin, options) => rotate(ref, dout, cos, sin, checkRopeBackward(ref.backend, dout, cos, sin, options), -1),
  }
}

/** Turns each pair (i, i + R/2) by its angle times `direction`. */
function rotate(ref: Reference, x: Tensor, cos: Tensor, sin: Tensor, problem: RopeProblem, direction: 1 | -1): Tensor {
  const { round: r } = ref
  const { batchSize, seqlen, nHeads, headDim, rotaryDim, positionOffset, outShape, dtype } = problem
  const half = rotaryDim / 2
  const [input, c, s] = [ref.load(x), ref.load(cos), ref.load(sin)]
  const out = input.slice()
  for (let row = 0; row < batchSize * seqlen * nHeads; row++) {
    const position = (Math.floor(row / nHeads) % seqlen) + positionOffset
    for (let i = 0; i < half; i++) {
      const low = row * headDim + i
      const high = low + half
      const [x0, x1] = [input[low] as number, input[high] as number]
      const cosine = c[position * half + i] as number
      const sine = direction * (s[position * half + i] as number)
      out[low] = r(x0 * cosine) - r(x1 * sine)
      out[high] = r(x1 * cosine) + r(x0 * sine)
    }
  }
  return ref.result(out, outShape, dtype)
}
