import { createReferenceBackend } from '@tilegrad/core-math'
import type { Backend, Tensor } from '@tilegrad/tensor'
import { type Check, check, forwardFactor } from './check'
import type { GemmJob } from './job'
import { processMemory, resetPeakMemory } from './memory'
import { randomNormal } from './random'
import type { Measurement } from './results'
import { time } from './timing'

/** c [m, n] = a·b, where a is stored [k, m] if transposeA and b [n, k] if transposeB. */
export interface GemmShape {
  readonly name: string
  readonly m: number
  readonly n: number
  readonly k: number
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

export interface GemmSizes {
  readonly dModel: number
  readonly context: number
  readonly vocabSize: number
}

const checkedRows = 8

/** A square one, and those of a GPT-2 block at this width: forward, gradient of the input, gradient of the weight. */
export function gemmShapes({ dModel: d, context: t, vocabSize }: GemmSizes): GemmShape[] {
  const linear = (name: string, inputs: number, outputs: number): GemmShape[] => [
    { name, m: t, n: outputs, k: inputs },
    { name: `${name}, input gradient`, m: t, n: inputs, k: outputs, transposeB: true },
    { name: `${name}, weight gradient`, m: inputs, n: outputs, k: t, transposeA: true },
  ]
  return [
    { name: 'square', m: 1024, n: 1024, k: 1024 },
    ...linear('qkv', d, 3 * d),
    ...linear('proj', d, d),
    ...linear('fc', d, 4 * d),
    ...linear('fc2', 4 * d, d),
    { name: 'head', m: t, n: vocabSize, k: d, transposeB: true },
  ]
}

export async function measureGemm(backend: Backend, { shape, samples, threads }: GemmJob): Promise<Measurement> {
  const { m, n, k, transposeA = false, transposeB = false } = shape
  const [aData, bData] = [randomNormal(m * k, 1), randomNormal(k * n, 2)]
  const a = backend.tensor(aData, transposeA ? [k, m] : [m, k])
  const b = backend.tensor(bData, transposeB ? [n, k] : [k, n])
  const product = () => backend.kernels.matmul(a, b, { transposeA, transposeB })
  const atRest = backend.memory().bytes
  resetPeakMemory()
  const before = processMemory().bytes
  backend.resetPeakMemory()
  let last = product()
  const call = () => {
    last.dispose()
    last = product()
  }
  const timing = await time({ call, sync: () => backend.sync() }, { samples, threads })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }
  const checks = [await checkGemm(aData, bData, last, shape)]
  for (const tensor of [last, a, b]) tensor.dispose()
  return { device: backend.info.driver, flops: 2 * m * n * k, bytes: null, checks, timing, memory }
}

/** Compares the first and the last rows of c with float64: all of it would take JavaScript longer than the benchmark. */
export async function checkGemm(aData: Float32Array, bData: Float32Array, c: Tensor, shape: GemmShape): Promise<Check> {
  const { m, n, k, transposeA = false, transposeB = false } = shape
  const rows = Math.min(checkedRows, m)
  const whole = await c.read()
  const product = (backend: Backend, row: number) => {
    const a = backend.tensor(aData, transposeA ? [k, m] : [m, k])
    const part = transposeA ? a.slice([0, row], [k, row + rows]) : a.slice([row, 0], [row + rows, k])
    return backend.kernels.matmul(part, backend.tensor(bData, transposeB ? [n, k] : [k, n]), { transposeA, transposeB }).read()
  }
  const [oracle, naive] = [createReferenceBackend({ precision: 'f64' }), createReferenceBackend({ precision: 'f32' })]
  const comparisons = []
  for (const row of new Set([0, m - rows])) {
    const actual = whole.subarray(row * n, (row + rows) * n)
    comparisons.push({ actual, oracle: await product(oracle, row), naive: await product(naive, row) })
  }
  return check('product', comparisons, forwardFactor)
}
