import { checkMatmul, type Kernels, type MatmulOptions, type MatmulProblem, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import { defineShader, type WgslFile } from '../shader'
import { activationsWgsl } from '../shaders/libraries'
import text from '../shaders/matmul.wgsl'
import elements from '../shaders/matmul-elements.wgsl'
import registers from '../shaders/matmul-registers.wgsl'
import subgroups from '../shaders/matmul-subgroups.wgsl'
import tiles from '../shaders/matmul-tiles.wgsl'
import { matrixConstants } from '../subgroup-matrix'
import { cutOf, halvesOf, type Product } from './matmul-pieces'
import { type MatrixTile, matrixVariant } from './matmul-subgroup-matrix'
import { MATMUL_TYPES, TRANSPOSES, typesOf } from './matmul-variants'
import { resultOf } from './rows'

/** Tiles from large to small: the result's per workgroup and per invocation. 16, 8 and 4 KiB of workgroup memory. */
const TILES = [
  { TILE_M: 128, TILE_N: 128, TILE_K: 16, THREAD_M: 8, THREAD_N: 8 },
  { TILE_M: 64, TILE_N: 64, TILE_K: 16, THREAD_M: 8, THREAD_N: 4 },
  { TILE_M: 32, TILE_N: 32, TILE_K: 16, THREAD_M: 4, THREAD_N: 4 },
] as const

/** Tiles of subgroups, from large to small. */
const SUBGROUP_TILES = [
  { TILE_M: 16, TILE_N: 128, TILE_K: 4, THREAD_M: 16, THREAD_N: 4 },
  { TILE_M: 16, TILE_N: 32, TILE_K: 4, THREAD_M: 16, THREAD_N: 4 },
] as const
/** Sizes of subgroups for which those are made: the ones of adapters in software. */
const SUBGROUP_SIZES = [4, 8] as const

type Tile = (typeof TILES | typeof SUBGROUP_TILES)[number] | MatrixTile

const registersWgsl: WgslFile = { name: 'matmul-registers.wgsl', text: registers }

export const matmul = defineShader(
  'matmul',
  text,
  MATMUL_TYPES.flatMap((types) =>
    [true, false].flatMap((vector) =>
      TILES.flatMap((tile) => TRANSPOSES.map((transposed) => ({ ...typesOf(types, vector, 'element'), ...transposed, ...tile }))),
    ),
  ),
  [registersWgsl, { name: 'matmul-elements.wgsl', text: elements }, { name: 'matmul-tiles.wgsl', text: tiles }, activationsWgsl],
)

export const matmulBySubgroups = defineShader(
  'matmul',
  text,
  MATMUL_TYPES.flatMap((types) =>
    SUBGROUP_SIZES.flatMap((SUBGROUP) =>
      SUBGROUP_TILES.flatMap((tile) =>
        TRANSPOSES.map((transposed) => ({ ...typesOf(types, true, 'vector'), ...transposed, ...tile, SUBGROUPS: true, SUBGROUP })),
      ),
    ),
  ),
  [registersWgsl, { name: 'matmul-subgroups.wgsl', text: subgroups }, activationsWgsl],
)

/** Matrix products in shaders/matmul.wgsl. */
export function matmulKernels(ctx: KernelContext): Pick<Kernels, 'matmul'> {
  return {
    matmul(a, b, options = {}) {
      const problem = checkMatmul(ctx.backend, a, b, options)
      ctx.element('matmul', problem.dtype)
      const { preActivation, accumulateInto } = options
      const out = resultOf(ctx, problem.outShape, problem.dtype, accumulateInto)
      if (preActivation) ctx.touch(preActivation)
      runMatmul(ctx, problem, a, b, out, options)
      return out
    },
  }
}

/** A stack of matrices, `batchStride` elements apart, with rows `rowStride` apart. */
interface Matrices extends View {
  readonly rowStride: number
  readonly batchStride: number
}

/**
 * Enqueues a product whose arguments are checked, cut up where its tensors are too large to be bound.
 *
 * @param out [..., M, N], contiguous; its dtype may differ from those of a and b, as those of a and b may
 */
export function runMatmul(ctx: KernelContext, problem: MatmulProblem, a: Tensor, b: Tensor, out: Tensor, options: MatmulOptions): void {
  runPieces(ctx, { problem, a, b, out, options })
}

function runPieces(ctx: KernelContext, product: Product): void {
  const cut = cutOf(ctx, product)
  if (cut === undefined) runProduct(ctx, product)
  else if (cut === 'a' || cut === 'b') {
    // Columns of a matrix reach over all of it, however few they are.
    const copy = ctx.backend.kernels.copy(product[cut])
    try {
      runPieces(ctx, { ...product, [cut]: copy })
    } finally {
      copy.dispose()
    }
  } else for (const half of halvesOf(ctx, product, cut)) runPieces(ctx, half)
}

/** @param product whose tensors can be bound; `out` may be columns of a larger matrix, and `preActivation` the same columns of another */
function runProduct(ctx: KernelContext, { problem, a, b, out, options }: Product): void {
  const matricesB = asMatrices(ctx, b)
  let [matricesA, matricesOut] = [asMatrices(ctx, a), asMatrices(ctx, out)]
  let { batch, m } = problem
  const { n, k, sharedB, transposeA, transposeB, alpha, activation } = problem
  if (batch * m * n === 0) return
  const oneStride = [matricesA, matricesOut].every(({ batchStride, rowStride }) => batch === 1 || batchStride === m * rowStride)
  if (sharedB && !transposeA && oneStride) {
    // Products by one b are one product.
    m *= batch
    batch = 1
    matricesA = { ...matricesA, batchStride: 0 }
    matricesOut = { ...matricesOut, batchStride: 0 }
  }
  const { bias, preActivation, accumulateInto } = options
  const epilogue = bias !== undefined || preActivation !== undefined || activation === 'gelu'
  const biasView = bias ? ctx.view(bias) : undefined
  const preActivationView = preActivation ? ctx.view(preActivation) : undefined
  const columns = [transposeA ? m : k, transposeB ? k : n]
  const vector = [matricesA, matricesB].every(({ start, rowStride, batchStride }, i) =>
    [start, rowStride, batchStride, columns[i] as number].every((value) => value % 4 === 0),
  )
  const { start: startOut, rowStride: rowStrideOut, batchStride: batchStrideOut } = matricesOut
  const stored = [n, startOut, preActivationView?.start ?? 0, rowStrideOut, batchStrideOut]
  const fours = vector && stored.every((value) => value % 4 === 0)
  const matrix = matrixVariant(ctx, a.dtype, b.dtype, m, n)
  const lanes = fours && !matrix ? subgroupLanes(ctx) : undefined
  const tiles = matrix?.tiles ?? (lanes ? SUBGROUP_TILES : TILES)
  const tile = tileFor(tiles, lanes ? ENOUGH_WORKGROUPS_IN_SOFTWARE : ENOUGH_WORKGROUPS, batch, m, n)
  const most = ctx.limits.maxComputeWorkgroupsPerDimension
  for (let firstBatch = 0; firstBatch < batch; firstBatch += most) {
    ctx.run({
      shader: matrix?.shader ?? (lanes ? matmulBySubgroups : matmul),
      entry: epilogue ? 'matmulEpilogue' : 'matmul',
      constants: {
        ...typesOf([a.dtype, b.dtype, out.dtype], vector, lanes ? 'vector' : 'element'),
        TRANSPOSE_A: transposeA,
        TRANSPOSE_B: transposeB,
        ...tile,
        ...(lanes ? { SUBGROUPS: true, SUBGROUP: lanes } : {}),
        ...(matrix ? matrixConstants(matrix.unit) : {}),
      },
      bindings: epilogue
        ? {
            a: matricesA,
            b: matricesB,
            bias: biasView ?? ctx.placeholder,
            out: matricesOut,
            preActivation: preActivationView ?? ctx.temporary([4]),
          }
        : { a: matricesA, b: matricesB, out: matricesOut },
      params: {
        m,
        n,
        k,
        firstBatch,
        startA: matricesA.start,
        rowStrideA: matricesA.rowStride,
        batchStrideA: matricesA.batchStride,
        startB: matricesB.start,
        rowStrideB: matricesB.rowStride,
        batchStrideB: sharedB ? 0 : matricesB.batchStride,
        startBias: biasView?.start ?? 0,
        startOut,
        startPreActivation: preActivationView?.start ?? 0,
        rowStrideOut,
        batchStrideOut,
        alpha,
        accumulate: Number(accumulateInto !== undefined),
        hasBias: Number(bias !== undefined),
        gelu: Number(activation === 'gelu'),
        hasPreActivation: Number(preActivation !== undefined),
        tileSteps: tile.TILE_K / 4,
      },
      workgroups: [Math.ceil(n / tile.TILE_N), Math.ceil(m / tile.TILE_M), Math.min(most, batch - firstBatch)],
    })
  }
}

/** The size of all subgroups, if it is one that matmul-subgroups.wgsl is made for. */
function subgroupLanes({ subgroupSizes }: KernelContext): (typeof SUBGROUP_SIZES)[number] | undefined {
  return SUBGROUP_SIZES.find((size) => subgroupSizes?.min === size && subgroupSizes.max === size)
}

/** Describes [..., R, C] as matrices, through a contiguous copy where its leading axes do not lie on one stride. */
function asMatrices(ctx: KernelContext, tensor: Tensor): Matrices {
  const { shape, strides } = tensor
  const rank = shape.length
  let batchStride: number | undefined
  let below = 1 // matrices in the axes passed so far
  for (let axis = rank - 3; axis >= 0 && numel(shape) > 0; axis--) {
    const size = shape[axis] as number
    if (size === 1) continue
    batchStride ??= strides[axis] as number
    if (strides[axis] !== below * batchStride) return asMatrices(ctx, ctx.contiguous(tensor))
    below *= size
  }
  return { ...ctx.view(tensor), rowStride: strides[rank - 2] as number, batchStride: batchStride ?? 0 }
}

/** Workgroups that keep a GPU busy, or the threads of a processor: below, smaller tiles give more of them. */
const ENOUGH_WORKGROUPS = 96
const ENOUGH_WORKGROUPS_IN_SOFTWARE = 8

/** The largest tile of which there are enough to fill the device, or the smallest. */
function tileFor(tiles: readonly Tile[], workgroups: number, batch: number, m: number, n: number): Tile {
  const enough = ({ TILE_M, TILE_N }: Tile) => batch * Math.ceil(m / TILE_M) * Math.ceil(n / TILE_N) >= workgroups
  return tiles.find(enough) ?? (tiles.at(-1) as Tile)
}
