import { createReferenceBackend } from '@tilegrad/core-math'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import type { Backend, Tensor, TypedArray } from '@tilegrad/tensor'
import { type Check, check, forwardFactor } from './check'
import { watchDisturbance } from './disturbance'
import { backendOptions, type GemmJob } from './job'
import { processMemory, resetPeakMemory } from './memory'
import { openBlasRunner } from './openblas'
import { randomNormal } from './random'
import type { Measurement } from './results'
import { time, type Workload } from './timing'

/** c [m, n] = a·b, where a is stored [k, m] if transposeA and b [n, k] if transposeB. */
export interface GemmShape {
  readonly name: string
  readonly m: number
  readonly n: number
  readonly k: number
  readonly transposeA?: boolean
  readonly transposeB?: boolean
  /** What the same kernel does to c while it has it: + bias [n], and GELU, keeping what it is taken of as training does. */
  readonly epilogue?: 'bias' | 'bias + GELU'
}

export interface GemmSizes {
  readonly dModel: number
  readonly context: number
  readonly vocabSize: number
}

/** Something that computes one product, loaded and holding a and b. */
export interface ProductRunner extends Workload {
  readonly device: string
  /** The process whose threads compute. */
  readonly pid: number
  /** c, of the last call. */
  result(): Promise<TypedArray>
  memory(): Measurement['memory']
  close(): Promise<void>
}

const checkedRows = 8

/** A square one, and those of a GPT-2 block at this width: forward, gradient of the input, gradient of the weight, and of one token as in sampling. */
export function gemmShapes({ dModel: d, context: t, vocabSize }: GemmSizes): GemmShape[] {
  const linear = (name: string, inputs: number, outputs: number): GemmShape[] => [
    { name, m: t, n: outputs, k: inputs },
    { name: `${name}, input gradient`, m: t, n: inputs, k: outputs, transposeB: true },
    { name: `${name}, weight gradient`, m: inputs, n: outputs, k: t, transposeA: true },
  ]
  return [
    { name: 'square', m: 1024, n: 1024, k: 1024 },
    ...linear('qkv', d, 3 * d),
    { name: 'qkv', m: t, n: 3 * d, k: d, epilogue: 'bias' },
    ...linear('proj', d, d),
    ...linear('fc', d, 4 * d),
    { name: 'fc', m: t, n: 4 * d, k: d, epilogue: 'bias + GELU' },
    ...linear('fc2', 4 * d, d),
    { name: 'head', m: t, n: vocabSize, k: d, transposeB: true },
    { name: 'head, input gradient', m: t, n: d, k: vocabSize },
    { name: 'head, weight gradient', m: vocabSize, n: d, k: t, transposeA: true },
    { name: 'fc of one token', m: 1, n: 4 * d, k: d },
    { name: 'head of one token', m: 1, n: vocabSize, k: d, transposeB: true },
  ]
}

/** Times one product in this process, or one that it starts, and checks what it timed. */
export async function measureGemm({ contender, shape, samples, threads }: GemmJob): Promise<Measurement> {
  const { m, n, k } = shape
  const [a, b] = [randomNormal(m * k, 1), randomNormal(k * n, 2)]
  const runner =
    contender === 'openblas'
      ? await openBlasRunner(a, b, shape, threads)
      : tilegradProduct(await createCpuBackend(backendOptions(contender, threads)), a, b, shape)
  const timing = await time(runner, { samples, threads }, (count) => watchDisturbance(count, runner.pid))
  const memory = runner.memory()
  const checks = [await checkGemm(a, b, await runner.result(), shape)]
  await runner.close()
  return { device: runner.device, flops: 2 * m * n * k, bytes: null, checks, timing, memory }
}

function tilegradProduct(
  backend: Backend & { dispose(): Promise<void>; resetPeakMemory(): void },
  aData: Float32Array,
  bData: Float32Array,
  shape: GemmShape,
): ProductRunner {
  const operands = upload(backend, aData, bData, shape)
  const atRest = backend.memory().bytes
  resetPeakMemory()
  const before = processMemory().bytes
  backend.resetPeakMemory()
  let last = product(backend, operands, shape)
  return {
    device: backend.info.driver,
    pid: process.pid,
    call: () => {
      last.dispose()
      last = product(backend, operands, shape)
    },
    sync: () => backend.sync(),
    result: () => last.read(),
    memory: () => ({ processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: backend.memory().peakBytes - atRest }),
    close: () => backend.dispose(),
  }
}

interface Operands {
  readonly a: Tensor
  readonly b: Tensor
  readonly bias: Tensor
  readonly preActivation: Tensor
}

function upload(backend: Backend, a: Float32Array, b: Float32Array, { m, n, k, transposeA, transposeB }: GemmShape): Operands {
  return {
    a: backend.tensor(a, transposeA ? [k, m] : [m, k]),
    b: backend.tensor(b, transposeB ? [n, k] : [k, n]),
    bias: backend.tensor(randomNormal(n, 3), [n]),
    preActivation: backend.empty([m, n]),
  }
}

function product(backend: Backend, { a, b, bias, preActivation }: Operands, shape: GemmShape): Tensor {
  const { transposeA = false, transposeB = false, epilogue } = shape
  return backend.kernels.matmul(a, b, {
    transposeA,
    transposeB,
    ...(epilogue ? { bias } : {}),
    ...(epilogue === 'bias + GELU' ? { activation: 'gelu', preActivation } : {}),
  })
}

/** Compares the first and the last rows of c with float64: all of it would take JavaScript longer than the benchmark. */
export async function checkGemm(aData: Float32Array, bData: Float32Array, c: TypedArray, shape: GemmShape): Promise<Check> {
  const { m, n, k, transposeA = false } = shape
  const rows = Math.min(checkedRows, m)
  const compute = (precision: 'f64' | 'f32', row: number) => {
    const backend = createReferenceBackend({ precision })
    const operands = upload(backend, aData, bData, shape)
    const a = transposeA ? operands.a.slice([0, row], [k, row + rows]) : operands.a.slice([row, 0], [row + rows, k])
    return product(backend, { ...operands, a, preActivation: backend.empty([rows, n]) }, shape).read()
  }
  const comparisons = []
  for (const row of new Set([0, m - rows])) {
    const actual = c.subarray(row * n, (row + rows) * n)
    comparisons.push({ actual, oracle: await compute('f64', row), naive: await compute('f32', row) })
  }
  return check('product', comparisons, forwardFactor)
}
