import { createReferenceBackend } from '@tilegrad/core-math'
import type { Backend, Tensor } from '@tilegrad/tensor'
import { type Check, check, forwardFactor } from './check'
import { randomNormal } from './random'
import type { Measurement, Row } from './results'
import { type CommonOptions, session } from './session'
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

export interface GemmBenchOptions extends CommonOptions {
  readonly dModel: number
  readonly context: number
  readonly vocabSize: number
  /** Only shapes whose name contains it. */
  readonly filter: string
}

const nameWidth = 44
const checkedRows = 8

/** A square one, and those of a GPT-2 block at this width: forward, gradient of the input, gradient of the weight. */
export function gemmShapes({ dModel: d, context: t, vocabSize }: Pick<GemmBenchOptions, 'dModel' | 'context' | 'vocabSize'>): GemmShape[] {
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

export function benchGemm(options: GemmBenchOptions): Promise<Row[]> {
  return session('gemm', options, { nameWidth, standard: false }, async function* (backend) {
    for (const shape of gemmShapes(options)) if (shape.name.includes(options.filter)) yield measure(backend, shape, options)
  })
}

async function measure(backend: Backend, shape: GemmShape, options: GemmBenchOptions): Promise<Measurement> {
  const { name, m, n, k, transposeA = false, transposeB = false } = shape
  const [aData, bData] = [randomNormal(m * k, 1), randomNormal(k * n, 2)]
  const a = backend.tensor(aData, transposeA ? [k, m] : [m, k])
  const b = backend.tensor(bData, transposeB ? [n, k] : [k, n])
  const release = (tensor: Tensor) => tensor.dispose()
  const [timed] = await time(backend, [{ run: () => backend.kernels.matmul(a, b, { transposeA, transposeB }), release }], options)
  if (!timed) throw new Error('nothing was timed')
  const checks = [await checkGemm(aData, bData, timed.last, shape)]
  for (const tensor of [timed.last, a, b]) tensor.dispose()
  return {
    name: `${name} ${m}×${n}×${k}`,
    parameters: { m, n, k, transposeA, transposeB },
    flops: 2 * m * n * k,
    checks,
    timing: timed.timing,
  }
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
