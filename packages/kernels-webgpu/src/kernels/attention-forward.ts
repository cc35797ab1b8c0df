import { type AttentionProblem, checkAttentionForward, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, Run } from '../kernel-context'
import { type Constants, combinations, defineShader, type Shader, type WgslFile } from '../shader'
import text from '../shaders/attention-forward.wgsl'
import softwareText from '../shaders/attention-forward-software.wgsl'
import subgroupsText from '../shaders/attention-forward-subgroups.wgsl'
import mergeText from '../shaders/attention-merge.wgsl'
import { attentionForwardGroupsLibraries, attentionForwardLibraries, attentionForwardRowsLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { dispatchMatrixForward, type MatrixRows, matrixForward } from './attention-forward-subgroup-matrix'
import { packRows } from './attention-pack-rows'
import { type Heads, headParams, headsOf, isGeneral, type Places, planesOf, type SharedBindings, sharedBindings } from './attention-problem'
import { rowTexels } from './attention-texels'
import { type ForwardTile, forwardTile, GROUP_TILES, PLAIN_TILES, SOFTWARE_TILES, tileConstants, tileVariants } from './attention-tiles'

/** Of q, k and v in fours, and of out, or of its parts when keys are split. Copies of q, k and v are f32. */
const TYPES = [
  ['f32', 'f32'],
  ['f16', 'f16'],
  ['f32', 'f16'],
  ['f16', 'f32'],
] as const

const typesOf = (element: string, OutElement: string, GENERAL: boolean): Constants => ({ Vector: `vec4<${element}>`, OutElement, GENERAL })

function define(name: string, wgsl: string, tiles: readonly ForwardTile[], libraries: readonly WgslFile[]): Shader {
  const variants = TYPES.flatMap(([element, out]) =>
    [false, true].flatMap((general) =>
      tiles.flatMap((tile) => tileVariants(tile).map((constants) => ({ ...typesOf(element, out, general), ...constants }))),
    ),
  )
  return defineShader(name, wgsl, variants, libraries)
}

const shaders = {
  plain: define('attention-forward', text, PLAIN_TILES, attentionForwardLibraries),
  software: define('attention-forward-software', softwareText, SOFTWARE_TILES, attentionForwardRowsLibraries),
  subgroups: define('attention-forward-subgroups', subgroupsText, GROUP_TILES, attentionForwardGroupsLibraries(false)),
  emulated: define('attention-forward-subgroups', subgroupsText, GROUP_TILES, attentionForwardGroupsLibraries(true)),
}
export const attentionForwardShaders = Object.values(shaders)
export const attentionMerge = defineShader('attention-merge', mergeText, combinations({ OutElement: ['f32', 'f16'] }))

/** Attention in shaders/attention-forward.wgsl, or by the variants of it that a device has the features for. */
export function attentionForwardKernels(ctx: KernelContext): Pick<Kernels, 'attentionForward'> {
  return {
    attentionForward(q, k, v, options = {}) {
      const problem = checkAttentionForward(ctx.backend, q, k, v, options)
      ctx.element('attentionForward', problem.dtype)
      const out = ctx.empty(problem.outShape, problem.dtype)
      const lse = ctx.empty(problem.lseShape)
      runForward(ctx, problem, q, k, v, out, lse)
      return { out, lse }
    },
  }
}

/** q, k and v as a kernel reads them: where they lie, or in copies. */
interface Operands {
  /** Of q, and where they are no textures of k and v. */
  readonly element: 'f32' | 'f16'
  readonly q: Places
  readonly k: Places
  readonly v: Places
  readonly bindings: Run['bindings']
}

function runForward(ctx: KernelContext, problem: AttentionProblem, q: Tensor, k: Tensor, v: Tensor, out: WebGPUTensor, lse: WebGPUTensor) {
  const { totalQ, nHeads, headDimV } = problem
  if (totalQ === 0) return
  const { tile, enqueue } = planOf(ctx, problem, q, k, v)
  const shared = sharedBindings(ctx, problem)
  const nSplits = splitsFor(problem, tile)
  if (nSplits === 1) {
    enqueue(shared, out, lse, 1)
    return
  }
  const partialOut = ctx.temporary([nSplits, totalQ, nHeads, headDimV])
  const partialLse = ctx.temporary([nSplits, totalQ, nHeads])
  enqueue(shared, partialOut, partialLse, nSplits)
  merge(ctx, problem, shared, partialOut, partialLse, out, lse, nSplits)
}

/** How a problem is divided, and what computes it: `out` and `lse` are those of parts if keys are split. */
interface Plan {
  readonly tile: Pick<ForwardTile, 'blockM' | 'variant'>
  readonly enqueue: (shared: SharedBindings, out: Tensor, lse: Tensor, nSplits: number) => void
}

function planOf(ctx: KernelContext, problem: AttentionProblem, q: Tensor, k: Tensor, v: Tensor): Plan {
  const matrix = ctx.attentionTiles.forward === undefined ? matrixForward(ctx, problem) : undefined
  if (matrix) {
    const rows = rowsOf(ctx, problem, { q, k, v })
    const enqueue: Plan['enqueue'] = (...into) => dispatchMatrixForward(ctx, problem, matrix, rows, ...into)
    return { tile: { blockM: matrix.blockM, variant: 'plain' }, enqueue }
  }
  const tile = forwardTile(ctx, problem, elementOf(ctx, problem, { q, k, v }))
  const operands = tile.variant === 'software' ? inTextures(ctx, problem, q, k, v) : operandsOf(ctx, problem, { q, k, v })
  return { tile, enqueue: (...into) => dispatch(ctx, problem, tile, operands, ...into) }
}

type QKV = Readonly<Record<'q' | 'k' | 'v', Tensor>>

/** What rowsOf gives. */
function elementOf(ctx: KernelContext, problem: AttentionProblem, tensors: QKV): 'f32' | 'f16' {
  return areRows(ctx, problem, tensors) ? (problem.dtype as 'f32' | 'f16') : 'f32'
}

/** q, k and v in rows of whole vectors: as they are where they come in fours, else in f32 copies. */
function rowsOf(ctx: KernelContext, problem: AttentionProblem, tensors: QKV): MatrixRows {
  const { q, k, v } = tensors
  const { totalQ, totalK, seqlenQ, seqlenK, dtype } = problem
  if (areRows(ctx, problem, tensors)) {
    return { element: dtype as 'f32' | 'f16', q: headsOf(ctx, q), k: headsOf(ctx, k), v: headsOf(ctx, v) }
  }
  const [queries, keys] = [
    { seqlen: seqlenQ, rows: totalQ },
    { seqlen: seqlenK, rows: totalK },
  ]
  return { element: 'f32', q: packedHeads(ctx, q, queries), k: packedHeads(ctx, k, keys), v: packedHeads(ctx, v, keys) }
}

/** Whether q, k and v are rows of whole vectors, or are not read at all. */
function areRows(ctx: KernelContext, { headDim, headDimV, totalK }: AttentionProblem, { q, k, v }: QKV): boolean {
  return totalK === 0 || inFours(headDim, headDimV, [headsOf(ctx, q), headsOf(ctx, k), headsOf(ctx, v)])
}

/** Whether every head of every row begins at, and has, a multiple of four elements. */
function inFours(headDim: number, headDimV: number, tensors: readonly Heads[]): boolean {
  return tensors.every(({ start, batchStride, rowStride, headStride }) =>
    [headDim, headDimV, start, batchStride, rowStride, headStride].every((value) => value % 4 === 0),
  )
}

function operandsOf(ctx: KernelContext, problem: AttentionProblem, tensors: QKV): Operands {
  const { element, ...rows } = rowsOf(ctx, problem, tensors)
  return { element, ...rows, bindings: rows }
}

function inTextures(ctx: KernelContext, problem: AttentionProblem, q: Tensor, k: Tensor, v: Tensor): Operands {
  const { totalQ, totalK, seqlenQ, seqlenK, headDim, dtype } = problem
  const own = headsOf(ctx, q)
  const inPlace = inFours(headDim, headDim, [own])
  const qHeads = inPlace ? own : packedHeads(ctx, q, { seqlen: seqlenQ, rows: totalQ })
  const [kPlaces, vPlaces] = [rowTexels(ctx, k, totalK, seqlenK), rowTexels(ctx, v, totalK, seqlenK)]
  return {
    element: inPlace ? (dtype as 'f32' | 'f16') : 'f32',
    q: qHeads,
    k: kPlaces,
    v: vPlaces,
    bindings: { q: qHeads, k: kPlaces.texels, v: vPlaces.texels },
  }
}

/** A copy in f32, in rows of whole vectors, addressed as the tensor is. */
function packedHeads(ctx: KernelContext, tensor: Tensor, { seqlen, rows }: { readonly seqlen: number; readonly rows: number }): Heads {
  const [nHeads, headDim] = tensor.shape.slice(-2) as [number, number]
  const vectors = planesOf(headDim)
  const packed = ctx.temporary([nHeads, rows, vectors, 4])
  packRows(ctx, tensor, packed, { rows, seqlen, vectors, firstVector: 0 })
  const rowStride = 4 * vectors
  return { ...ctx.view(packed), batchStride: tensor.shape.length === 3 ? 0 : seqlen * rowStride, rowStride, headStride: rows * rowStride }
}

function dispatch(
  ctx: KernelContext,
  problem: AttentionProblem,
  tile: ForwardTile,
  { element, q, k, v, bindings: operands }: Operands,
  { params, ...bindings }: SharedBindings,
  out: Tensor,
  lse: Tensor,
  nSplits: number,
): void {
  const { batchSize, nHeads, headDim, headDimV, seqlenQ } = problem
  const nMBlocks = Math.ceil(seqlenQ / tile.blockM)
  const most = Math.floor(ctx.limits.maxComputeWorkgroupsPerDimension / nSplits)
  for (let firstBatch = 0; firstBatch < batchSize; firstBatch += most) {
    ctx.run({
      shader: shaders[tile.variant === 'subgroups' && ctx.subgroupSizes?.emulated ? 'emulated' : tile.variant],
      entry: 'attentionForward',
      constants: { ...typesOf(element, out.dtype, isGeneral(problem)), ...tileConstants(tile, { ...problem, element }) },
      bindings: { ...operands, ...bindings, out, lse },
      params: {
        ...params,
        ...headParams('Q', q),
        ...headParams('K', k),
        ...headParams('V', v),
        planes: planesOf(headDim),
        planesV: planesOf(headDimV),
        firstBatch,
        nMBlocks,
        nSplits,
        workgroup: tile.invocations,
      },
      workgroups: [nMBlocks, nHeads, Math.min(most, batchSize - firstBatch) * nSplits],
    })
  }
}

function merge(
  ctx: KernelContext,
  { batchSize, totalQ, nHeads, headDimV, seqlenQ, sink, dtype }: AttentionProblem,
  { heads }: SharedBindings,
  partialOut: Tensor,
  partialLse: Tensor,
  out: Tensor,
  lse: Tensor,
  nSplits: number,
): void {
  const rows = totalQ * nHeads
  const workgroups = ctx.grid(rows)
  ctx.run({
    shader: attentionMerge,
    entry: 'attentionMerge',
    constants: { OutElement: dtype },
    bindings: { partialOut, partialLse, heads, out, lse },
    params: {
      rows,
      headDimV,
      nHeads,
      seqlenQ,
      nSplits,
      hasSink: Number(sink !== undefined),
      firstSink: batchSize * nHeads,
      minusInfinity: Number.NEGATIVE_INFINITY,
      grid: workgroups[0],
    },
    workgroups,
  })
}

/** Workgroups that keep a GPU busy, or the threads of a processor. */
const ENOUGH_WORKGROUPS = { plain: 96, subgroups: 96, software: 8 }
/** Keys that a part has at least: a part costs its share of the merge. */
const KEYS_OF_SPLIT = 256

/** Parts of the keys: one, unless batch × heads × query blocks cannot fill the device. Sequences of several lengths are not split. */
function splitsFor({ batchSize, nHeads, seqlenQ, seqlenK, cuSeqlensQ }: AttentionProblem, { blockM, variant }: Plan['tile']): number {
  if (cuSeqlensQ) return 1
  const workgroups = batchSize * nHeads * Math.ceil(seqlenQ / blockM)
  return Math.max(1, Math.min(Math.floor(ENOUGH_WORKGROUPS[variant] / workgroups), Math.floor(seqlenK / KEYS_OF_SPLIT)))
}
