import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { type AttentionInputs, type AttentionShape, randomInputs } from '../attention/problem'
import { upload } from '../attention/tilegrad'
import { randomNormal } from '../random'
import { checkLinformer, type HostProjections, readLinformer } from './check'
import { linformerAttention } from './linformer'

const shape: AttentionShape = { batchSize: 2, seqlenQ: 10, seqlenK: 14, nHeads: 2, headDim: 4, causal: false }
const projectedLength = 5
const inputs = randomInputs(shape)
const projections = projectionsOf(shape)

function projectionsOf({ seqlenK }: AttentionShape): HostProjections {
  return { e: randomNormal(projectedLength * seqlenK, 5), f: randomNormal(projectedLength * seqlenK, 6) }
}

async function run(backend: Backend, of = shape, values: AttentionInputs = inputs, { e, f }: HostProjections = projections) {
  const size = [projectedLength, of.seqlenK]
  const tensors = { e: backend.tensor(e, size), f: backend.tensor(f, size) }
  return readLinformer(linformerAttention(backend, upload(backend, values, of), tensors, true))
}

type Operand = 'q' | 'k' | 'v' | 'e' | 'f'
type Operands = Record<Operand, ArrayLike<number>>

/** softmax(q·(E·K)ᵀ/√D)·(F·V), row by row in float64. */
function definition({ q, k, v, e, f }: Operands): number[] {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const at = (x: ArrayLike<number>, seqlen: number, b: number, s: number, h: number, d: number) =>
    x[((b * seqlen + s) * nHeads + h) * headDim + d] as number
  const out = new Array<number>(batchSize * seqlenQ * nHeads * headDim).fill(0)
  for (let b = 0; b < batchSize; b++) {
    for (let h = 0; h < nHeads; h++) {
      const projected = (p: ArrayLike<number>, x: ArrayLike<number>, r: number, d: number) => {
        let sum = 0
        for (let s = 0; s < seqlenK; s++) sum += (p[r * seqlenK + s] as number) * at(x, seqlenK, b, s, h, d)
        return sum
      }
      for (let i = 0; i < seqlenQ; i++) {
        const weights = Array.from({ length: projectedLength }, (_, r) => {
          let score = 0
          for (let d = 0; d < headDim; d++) score += at(q, seqlenQ, b, i, h, d) * projected(e, k, r, d)
          return Math.exp(score / Math.sqrt(headDim))
        })
        const total = weights.reduce((sum, weight) => sum + weight, 0)
        for (let d = 0; d < headDim; d++) {
          const weighted = weights.map((weight, r) => (weight / total) * projected(f, v, r, d))
          out[((b * seqlenQ + i) * nHeads + h) * headDim + d] = weighted.reduce((sum, x) => sum + x, 0)
        }
      }
    }
  }
  return out
}

describe('linformerAttention', () => {
  const operands: Operands = { ...inputs, ...projections }

  it('is attention to projected keys and values', async () => {
    const { out } = await run(createReferenceBackend({ precision: 'f64' }))
    const expected = definition(operands)
    expect(out).toHaveLength(expected.length)
    for (const [i, x] of expected.entries()) expect(Math.abs((out[i] as number) - x)).toBeLessThan(1e-12)
  })

  it.each(['q', 'k', 'v', 'e', 'f'] as const)('has the gradient of %s by finite differences', async (name) => {
    const { gradients } = await run(createReferenceBackend({ precision: 'f64' }))
    const gradient = gradients[`d${name}`]
    const loss = (values: Operands) => definition(values).reduce((sum, x, i) => sum + x * (inputs.dout[i] as number), 0)
    const step = 1e-5
    for (let i = 0; i < operands[name].length; i += 7) {
      const moved = (by: number) => {
        const values = Float64Array.from(operands[name])
        values[i] = (values[i] as number) + by
        return loss({ ...operands, [name]: values })
      }
      // The quotient errs by step²·f‴/6 and by rounding, 2⁻⁵²·f/step: 1e-10 of values near 10, with room.
      expect(Math.abs((gradient[i] as number) - (moved(step) - moved(-step)) / (2 * step))).toBeLessThan(1e-7)
    }
  })
})

describe('checkLinformer', () => {
  const larger: AttentionShape = { batchSize: 1, seqlenQ: 90, seqlenK: 90, nHeads: 2, headDim: 8, causal: false }
  const values = randomInputs(larger)
  const weights = projectionsOf(larger)

  it('passes float32 on the reference and on the CPU', async () => {
    for (const backend of [createReferenceBackend({ precision: 'f32' }), await createCpuBackend({ runtime: 'wasm', threads: 1 })]) {
      const checks = checkLinformer(values, weights, await run(backend, larger, values, weights), larger)
      expect(checks.filter(({ ok }) => !ok)).toEqual([])
      expect(checks.map(({ what }) => what).sort()).toEqual(
        ['dProjectedK', 'dProjectedV', 'de', 'df', 'dk', 'dq', 'dv', 'lse', 'out', 'projectedK', 'projectedV'].sort(),
      )
      await backend.dispose()
    }
  })

  it('fails an error of a thousandth in each result', async () => {
    const right = await run(createReferenceBackend({ precision: 'f32' }), larger, values, weights)
    const scaled = (x: ArrayLike<number>) => Float32Array.from(x, (element) => element * 1.001)
    const failing = (wrong: typeof right) =>
      checkLinformer(values, weights, wrong, larger)
        .filter(({ ok }) => !ok)
        .map(({ what }) => what)
    for (const name of ['out', 'lse', 'projectedK', 'projectedV'] as const)
      expect(failing({ ...right, [name]: scaled(right[name]) })).toContain(name)
    for (const name of ['dq', 'dk', 'dv', 'de', 'df', 'dProjectedK', 'dProjectedV'] as const) {
      const gradients = { ...right.gradients, [name]: scaled(right.gradients[name]) }
      expect(failing({ ...right, gradients })).toContain(name)
    }
  })
})
