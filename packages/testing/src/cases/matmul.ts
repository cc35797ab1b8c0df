import type { Tensor } from '@tilegrad/tensor'
import fc from 'fast-check'
import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase } from '../kernel-case'
import type { Sizes } from './sizes'

interface MatmulCase {
  readonly leading: readonly number[]
  readonly m: number
  readonly n: number
  readonly k: number
  readonly sharedB: boolean
  readonly transposeA: boolean
  readonly transposeB: boolean
  readonly alpha: number
  readonly epilogue: 'none' | 'bias' | 'gelu' | 'biasGelu' | 'accumulate'
  readonly layout: Layout
}

const BASE: MatmulCase = {
  leading: [],
  m: 17,
  n: 33,
  k: 65,
  sharedB: true,
  transposeA: false,
  transposeB: false,
  alpha: 1,
  epilogue: 'none',
  layout: 'contiguous',
}

function matmul(overrides: Partial<MatmulCase>): KernelCase {
  const of = { ...BASE, ...overrides }
  const { leading, m, n, k, sharedB, transposeA, transposeB, alpha, epilogue, layout } = of
  const shapeA = [...leading, ...(transposeA ? [k, m] : [m, k])]
  const shapeB = [...(sharedB ? [] : leading), ...(transposeB ? [n, k] : [k, n])]
  const outShape = [...leading, m, n]
  const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
  return kernelCase(
    'matmul',
    describeCase(of),
    (random) => ({
      a: host(shapeA, random.normals(size(shapeA)), { layout }),
      b: host(shapeB, random.normals(size(shapeB)), { layout }),
      bias: host([n], random.normals(n), { layout: layout === 'padded' ? 'padded' : 'contiguous' }),
      preActivation: target(outShape, random.normals(size(outShape))),
      accumulateInto: target(outShape, random.normals(size(outShape))),
    }),
    ({ kernels }, { a, b, bias, preActivation, accumulateInto }) => {
      const options = { transposeA, transposeB, alpha }
      if (epilogue === 'accumulate') {
        const out = kernels.matmul(a, b, { ...options, accumulateInto })
        return { forward: { out: same(out, accumulateInto) } }
      }
      if (epilogue === 'none') return { forward: { out: kernels.matmul(a, b, options) } }
      if (epilogue === 'bias') return { forward: { out: kernels.matmul(a, b, { ...options, bias }) } }
      const withBias = epilogue === 'biasGelu' ? { ...options, bias } : options
      const out = kernels.matmul(a, b, { ...withBias, activation: 'gelu', preActivation })
      return { forward: { out, preActivation } }
    },
  )
}

/** The contract says that the target itself is what comes back. */
export function same(result: Tensor, given: Tensor): Tensor {
  if (result !== given) throw new Error('the result is not the tensor that was given to write into')
  return result
}

function describeCase({ leading, m, n, k, sharedB, transposeA, transposeB, alpha, epilogue, layout }: MatmulCase): string {
  const batch = leading.length > 0 ? `[${leading.join(', ')}] × ` : ''
  const parts = [
    `${batch}${m}×${n}×${k}${sharedB ? '' : ' batched b'}`,
    transposeA ? 'aᵀ' : '',
    transposeB ? 'bᵀ' : '',
    alpha === 1 ? '' : `alpha ${alpha}`,
    epilogue === 'none' ? '' : epilogue,
    layout === 'contiguous' ? '' : layout,
  ]
  return parts.filter(Boolean).join(' ')
}

const SIZES: readonly (readonly [m: number, n: number, k: number])[] = [
  [1, 1, 1],
  [1, 7, 5],
  [5, 1, 3],
  [0, 4, 3],
  [4, 0, 3],
  [3, 5, 0],
  [6, 16, 8],
  [17, 33, 65],
  [64, 64, 64],
  [67, 131, 259],
  [1, 512, 257],
  [130, 3, 1100],
  [3, 300, 700],
  [200, 9, 33],
]
const TRANSPOSES = [
  [false, false],
  [false, true],
  [true, false],
  [true, true],
] as const
const EPILOGUES = ['none', 'bias', 'gelu', 'biasGelu', 'accumulate'] as const

/** Every size under every transpose with the epilogues taking turns, batches, layouts, and combinations drawn with a fixed seed. */
export function matmulCases(sizes: Sizes): KernelCase[] {
  const full = sizes === 'full'
  const list = full ? SIZES : SIZES.filter(([m, n, k]) => m * n * k < 300_000)
  const plain = list.flatMap(([m, n, k], i) =>
    TRANSPOSES.flatMap(([transposeA, transposeB], j) => [
      matmul({ m, n, k, transposeA, transposeB }),
      matmul({ m, n, k, transposeA, transposeB, alpha: -0.375, epilogue: EPILOGUES[1 + ((i + j) % 4)] as (typeof EPILOGUES)[number] }),
    ]),
  )
  const batched = TRANSPOSES.flatMap(([transposeA, transposeB]) => [
    matmul({ leading: [2, 3], transposeA, transposeB, sharedB: false }),
    matmul({ leading: [2, 3], transposeA, transposeB, sharedB: true, epilogue: 'biasGelu' }),
    matmul({ leading: [3], m: 20, n: 50, k: 31, transposeA, transposeB, sharedB: false, layout: 'padded', epilogue: 'accumulate' }),
    matmul({ leading: [3, 2], m: 20, n: 50, k: 31, transposeA, transposeB, sharedB: true, layout: 'permuted' }),
  ])
  return [...plain, ...batched, matmul({ leading: [0], sharedB: false }), ...drawnCases(full ? 60 : 15)]
}

function drawnCases(count: number): KernelCase[] {
  const size = fc.constantFrom(1, 2, 5, 7, 8, 15, 16, 24, 31, 33, 48, 63, 65, 97, 130)
  const drawn = fc.record({
    leading: fc.constantFrom<readonly number[]>([], [], [2], [1, 3]),
    m: size,
    n: size,
    k: size,
    sharedB: fc.boolean(),
    transposeA: fc.boolean(),
    transposeB: fc.boolean(),
    alpha: fc.constantFrom(1, 0.5, -3, 0),
    epilogue: fc.constantFrom(...EPILOGUES),
    layout: fc.constantFrom<Layout>('contiguous', 'padded', 'permuted'),
  })
  return fc.sample(drawn, { seed: 20230717, numRuns: count }).map((of) => matmul({ ...of, sharedB: of.sharedB || of.leading.length === 0 }))
}
