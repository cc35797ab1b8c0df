import {
  checkAdd,
  checkCast,
  checkCopy,
  checkGeluBackward,
  checkGeluForward,
  checkScale,
  checkSwigluBackward,
  checkSwigluForward,
  type Kernels,
} from '@tilegrad/tensor'
import type { FloatArray, Reference } from './reference'

type PointwiseKernels = Pick<
  Kernels,
  'geluForward' | 'geluBackward' | 'swigluForward' | 'swigluBackward' | 'add' | 'scale' | 'cast' | 'copy'
>

/** Kernels in which each element of the result depends on the same element of the inputs. */
export function pointwiseKernels(ref: Reference): PointwiseKernels {
  const { round: r } = ref
  return {
    geluForward(x, options = {}) {
      const { outShape, dtype } = checkGeluForward(ref.backend, x, options)
      const input = ref.load(x)
      return ref.result(geluForwardInto(ref, input, ref.floats(input.length)), outShape, dtype, options.out)
    },

    geluBackward(dout, x, options = {}) {
      const { outShape, dtype } = checkGeluBackward(ref.backend, dout, x, options)
      const [grad, input] = [ref.load(dout), ref.load(x)]
      const dx = ref.floats(input.length)
      for (let i = 0; i < dx.length; i++) {
        const v = input[i] as number
        const t = r(Math.tanh(geluArgument(r, v)))
        const slope = r(r(SQRT_2_OVER_PI) * r(1 + r(r(3 * r(CUBIC)) * r(v * v))))
        const dtanh = r(r(1 - r(t * t)) * slope)
        dx[i] = (grad[i] as number) * r(r(0.5 * r(1 + t)) + r(r(0.5 * v) * dtanh))
      }
      return ref.result(dx, outShape, dtype, options.out)
    },

    swigluForward(gate, up, options = {}) {
      const { outShape, dtype } = checkSwigluForward(ref.backend, gate, up, options)
      const [g, u] = [ref.load(gate), ref.load(up)]
      const out = ref.floats(g.length)
      for (let i = 0; i < out.length; i++) out[i] = r((g[i] as number) * sigmoid(r, g[i] as number)) * (u[i] as number)
      return ref.result(out, outShape, dtype, options.out)
    },

    swigluBackward(dout, gate, up) {
      const { outShape, dtype } = checkSwigluBackward(ref.backend, dout, gate, up)
      const [grad, g, u] = [ref.load(dout), ref.load(gate), ref.load(up)]
      const dgate = ref.floats(g.length)
      const dup = ref.floats(g.length)
      for (let i = 0; i < g.length; i++) {
        const d = grad[i] as number
        const x = g[i] as number
        const s = sigmoid(r, x)
        // d silu/dx = σ(x)·(1 + x·(1 − σ(x)))
        dgate[i] = r(d * (u[i] as number)) * r(s * r(1 + r(x * r(1 - s))))
        dup[i] = d * r(x * s)
      }
      return { dgate: ref.result(dgate, outShape, dtype), dup: ref.result(dup, outShape, dtype) }
    },

    add(a, b, options = {}) {
      const { outShape, dtype } = checkAdd(ref.backend, a, b, options)
      const [x, y] = [ref.load(a), ref.load(b)]
      const out = ref.floats(x.length)
      for (let i = 0; i < out.length; i++) out[i] = (x[i] as number) + (y[i] as number)
      return ref.result(out, outShape, dtype, options.out)
    },

    scale(x, factor, options = {}) {
      const { outShape, dtype } = checkScale(ref.backend, x, factor, options)
      const input = ref.load(x)
      const out = ref.floats(input.length)
      for (let i = 0; i < out.length; i++) out[i] = r(factor) * (input[i] as number)
      return ref.result(out, outShape, dtype, options.out)
    },

    cast(x, dtype) {
      checkCast(ref.backend, x, dtype)
      return ref.result(ref.load(x).slice(), x.shape, dtype)
    },

    copy(x, options = {}) {
      checkCopy(ref.backend, x, options)
      return ref.copy(x, options.out)
    },
  }
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI)
const CUBIC = 0.044715

function geluArgument(r: (x: number) => number, v: number): number {
  return r(r(SQRT_2_OVER_PI) * r(v + r(r(r(CUBIC) * r(v * v)) * v)))
}

/** Tanh gelu of every element of `input`, into `out`. */
export function geluForwardInto(ref: Reference, input: FloatArray, out: FloatArray): FloatArray {
  const { round: r } = ref
  for (let i = 0; i < out.length; i++) {
    const v = input[i] as number
    out[i] = r(0.5 * v) * r(1 + r(Math.tanh(geluArgument(r, v))))
  }
  return out
}

function sigmoid(r: (x: number) => number, x: number): number {
  return r(1 / r(1 + r(Math.exp(-x))))
}
