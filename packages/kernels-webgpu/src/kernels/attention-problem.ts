import type { AttentionProblem, BlockMask, Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import { defineShader } from '../shader'
import headsText from '../shaders/attention-heads.wgsl'

export const attentionHeads = defineShader('attention-heads', headsText, [{}])

/** Four neighbouring elements: what packed rows are made of. */
export const planesOf = (headDim: number) => Math.ceil(headDim / 4)

/** Where rows of q, k, v or dout are, in elements. With cuSeqlens rows are those of all sequences, and batchStride is 0. */
export interface Places {
  readonly start: number
  readonly batchStride: number
  readonly rowStride: number
  readonly headStride: number
}

/** q, k, v or dout as kernels address it. */
export interface Heads extends View, Places {}

export function headsOf(ctx: KernelContext, tensor: Tensor): Heads {
  const strides = tensor.shape.length === 3 ? [0, ...tensor.strides] : tensor.strides
  const [batchStride, rowStride, headStride] = strides as [number, number, number]
  return { ...ctx.view(tensor), batchStride, rowStride, headStride }
}

type ParamsOf = Readonly<Record<string, number>>

/** The fields of Params about one of them: startQ, batchStrideQ, … */
export function headParams(name: 'Q' | 'K' | 'V', heads: Places | undefined): ParamsOf {
  const { start = 0, batchStride = 0, rowStride = 0, headStride = 0 } = heads ?? {}
  return {
    [`start${name}`]: start,
    [`batchStride${name}`]: batchStride,
    [`rowStride${name}`]: rowStride,
    [`headStride${name}`]: headStride,
  }
}

/** Whether a problem has more than a scale and a band: what the variants with GENERAL do. */
export function isGeneral(problem: AttentionProblem): boolean {
  const { softcap, alibiSlopes, bias, sink, dropoutP, cuSeqlensQ, blockMask } = problem
  return softcap > 0 || dropoutP > 0 || [alibiSlopes, bias, sink, cuSeqlensQ, blockMask].some((option) => option !== undefined)
}

/** What all kernels of one call share. */
export interface SharedBindings {
  readonly params: ParamsOf
  readonly bias: Tensor | View
  /** Slopes and sinks as shaders/attention-heads.wgsl lays them out, or a placeholder. */
  readonly heads: Tensor
  /** cuSeqlensQ, cuSeqlensK and the arrays of a block mask, or a placeholder. */
  readonly tables: Tensor
}

export function sharedBindings(ctx: KernelContext, problem: AttentionProblem): SharedBindings {
  const { bias } = problem
  const biasView = bias ? ctx.view(bias.tensor) : undefined
  const { tables, params } = tablesOf(ctx, problem)
  return {
    params: { ...sizeParams(problem), ...optionParams(problem, biasView), ...params },
    bias: biasView ?? ctx.placeholder,
    heads: headOptions(ctx, problem),
    tables,
  }
}

function sizeParams(problem: AttentionProblem): ParamsOf {
  const { seqlenQ, seqlenK, totalQ, totalK, nHeads, nHeadsK, headDim, headDimV, batchSize } = problem
  return { seqlenQ, seqlenK, totalQ, totalK, nHeads, groupSize: nHeads / nHeadsK, headDim, headDimV, batchSize, turn: 0 }
}

/** How dropout numbers heads. */
interface RandomHeads {
  readonly first: number
  readonly perSequence: number
}

let randomHeads: RandomHeads | undefined

/**
 * Runs a part of a call of attention, whose heads dropout numbers as the whole call would. Kernels are called synchronously, so that what is set here
 * is seen by them alone.
 *
 * @param firstHead first head of the part, of sequence firstBatch
 */
export function asPartOf<T>({ nHeads }: AttentionProblem, firstBatch: number, firstHead: number, run: () => T): T {
  const whole = randomHeads
  const { first, perSequence } = whole ?? { first: 0, perSequence: nHeads }
  randomHeads = { first: first + firstBatch * perSequence + firstHead, perSequence }
  try {
    return run()
  } finally {
    randomHeads = whole
  }
}

/** UNLIMITED of shaders/attention-problem.wgsl: more rows than there are. */
const UNLIMITED = 2 ** 29

function optionParams(problem: AttentionProblem, biasView: View | undefined): ParamsOf {
  const { softmaxScale, softcap, windowLeft, windowRight, causalTopLeft, bias, dropoutP, dropoutThreshold, seed, cuSeqlensQ } = problem
  const { alibiSlopes, sink } = problem
  const [batchStrideBias, headStrideBias, rowStrideBias, keyStrideBias] = (bias?.strides ?? [0, 0, 0, 0]) as [
    number,
    number,
    number,
    number,
  ]
  return {
    softmaxScale,
    softcap,
    windowLeft: Math.min(windowLeft, UNLIMITED),
    windowRight: Math.min(windowRight, UNLIMITED),
    causalTopLeft: Number(causalTopLeft),
    minusInfinity: Number.NEGATIVE_INFINITY,
    variableLengths: Number(cuSeqlensQ !== undefined),
    hasHeads: Number(alibiSlopes !== undefined || sink !== undefined),
    hasBias: Number(bias !== undefined),
    startBias: biasView?.start ?? 0,
    batchStrideBias,
    headStrideBias,
    rowStrideBias,
    keyStrideBias,
    biasAxes: axesOf(problem).reduce((bits, kept, axis) => bits | (Number(kept) << axis), 0),
    hasDropout: Number(dropoutP > 0),
    dropoutThreshold,
    firstRandomHead: randomHeads?.first ?? 0,
    randomHeads: randomHeads?.perSequence ?? problem.nHeads,
    seedLow: seed >>> 0,
    seedHigh: Math.floor(seed / 2 ** 32),
    philoxRounds: 10,
    keptFactor: 1 / (1 - dropoutP),
  }
}

/** Which axes bias has of its own, from that of keys to that of batch entries: gradients are summed over the others. */
export function axesOf({ bias }: AttentionProblem): boolean[] {
  return Array.from({ length: 4 }, (_, axis) => (bias?.tensor.shape.at(-1 - axis) ?? 1) > 1)
}

function headOptions(ctx: KernelContext, { batchSize, nHeads, alibiSlopes, sink }: AttentionProblem): Tensor {
  if (!alibiSlopes && !sink) return ctx.placeholder
  const heads = ctx.temporary([batchSize * nHeads + nHeads])
  const slopes = alibiSlopes ? ctx.view(alibiSlopes.tensor) : undefined
  const sinks = sink ? ctx.view(sink) : undefined
  ctx.run({
    shader: attentionHeads,
    entry: 'attentionHeads',
    constants: {},
    bindings: { slopes: slopes ?? ctx.placeholder, sink: sinks ?? ctx.placeholder, heads },
    params: {
      batchSize,
      nHeads,
      hasSlopes: Number(slopes !== undefined),
      startSlopes: slopes?.start ?? 0,
      batchStride: alibiSlopes?.strides[0] ?? 0,
      hasSink: Number(sinks !== undefined),
      startSink: sinks?.start ?? 0,
      minusInfinity: Number.NEGATIVE_INFINITY,
    },
    workgroups: [1, 1, 1],
  })
  return heads
}

/** Integers that kernels look up, in one buffer. */
function tablesOf(ctx: KernelContext, { cuSeqlensQ, cuSeqlensK, blockMask }: AttentionProblem): { tables: Tensor; params: ParamsOf } {
  const parts: Int32Array[] = cuSeqlensQ && cuSeqlensK ? [cuSeqlensQ, cuSeqlensK] : []
  let length = parts.reduce((sum, part) => sum + part.length, 0)
  const places: Record<string, number> = {}
  for (const name of ['kvOffsets', 'kvBlocks', 'kvBits', 'qOffsets', 'qBlocks', 'qBits', 'bits'] as const) {
    places[name === 'bits' ? 'maskBits' : name] = length
    if (!blockMask) continue
    parts.push(blockMask[name])
    length += blockMask[name].length
  }
  const params = { ...maskParams(blockMask), ...places }
  if (length === 0) return { tables: ctx.placeholder, params }
  const table = new Int32Array(length)
  parts.reduce((at, part) => {
    table.set(part, at)
    return at + part.length
  }, 0)
  return { tables: ctx.hold(ctx.backend.tensor(table, [length], 'i32')), params }
}

function maskParams(mask: BlockMask | undefined): ParamsOf {
  return {
    maskBlockM: mask?.blockM ?? 1,
    maskBlockN: mask?.blockN ?? 1,
    maskNMBlocks: mask ? Math.ceil(mask.seqlenQ / mask.blockM) : 0,
    maskNNBlocks: mask ? Math.ceil(mask.seqlenK / mask.blockN) : 0,
    maskBatchStride: mask && mask.batchSize > 1 ? mask.nHeads : 0,
    maskHeadStride: mask && mask.nHeads > 1 ? 1 : 0,
  }
}
