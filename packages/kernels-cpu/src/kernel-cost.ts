import { type AttentionOptions, bytesPerElement, type Kernels, numel, type Tensor } from '@tilegrad/tensor'

/** What one call of a kernel has to compute, whatever way it is done. */
export interface KernelWork {
  /** Of its matrix products, a multiply-add counted as two, by the field's conventions; 0 for kernels that only stream. */
  readonly flops: number
  /** Sizes, and the options that change the work. */
  readonly shape: string
}

/** Counts a call from its arguments. */
export function kernelWork(kernel: string, args: readonly unknown[]): KernelWork {
  const tensors = args as readonly Tensor[]
  switch (kernel as keyof Kernels) {
    case 'matmul':
      return matmulWork(args as Parameters<Kernels['matmul']>)
    case 'attentionForward': {
      // q·kᵀ and p·v.
      const [q, k, v, options] = args as Parameters<Kernels['attentionForward']>
      return attentionWork(q, k, options, headDimOf(q) + headDimOf(v))
    }
    case 'attentionBackward': {
      // q·kᵀ again unless p was saved, ds·k and dsᵀ·q; dout·vᵀ and pᵀ·dout (arXiv 2307.08691, section 4.1).
      const [, q, k, v, , , options] = args as Parameters<Kernels['attentionBackward']>
      return attentionWork(q, k, options, (options?.probabilities ? 2 : 3) * headDimOf(q) + 2 * headDimOf(v))
    }
    case 'linearCrossEntropyForward':
      return lossWork(tensors[0] as Tensor, tensors[1] as Tensor, 1)
    case 'linearCrossEntropyBackward':
      // The logits again, dx and dweight.
      return lossWork(tensors[1] as Tensor, tensors[2] as Tensor, 3)
    default:
      return { flops: 0, shape: tensors.find(isTensor)?.shape.join('×') ?? '' }
  }
}

/**
 * Bytes of the tensors that a call reads and writes, each counted once: what has to cross between memory and caches at least, if it was
 * in no cache.
 */
export function kernelBytes(kernel: string, args: readonly unknown[], result: unknown): number {
  const results = tensorsIn(result)
  // In place: parameter and both moments are written back.
  if (kernel === 'adamwStep') results.push(...(args as Tensor[]).filter((_, i) => i === 0 || i === 2 || i === 3))
  // A table is read row by row, as many rows as there are tokens.
  const operands = kernel === 'embeddingForward' ? [args[0] as Tensor, ...results] : args.flatMap(operandsIn)
  return [...operands, ...results].reduce((sum, tensor) => sum + numel(tensor.shape) * bytesPerElement[tensor.dtype], 0)
}

function matmulWork([a, b, options = {}]: Parameters<Kernels['matmul']>): KernelWork {
  const { transposeA = false, transposeB = false, bias, activation, accumulateInto } = options
  const k = a.shape.at(transposeA ? -2 : -1) ?? 1
  const n = b.shape.at(transposeB ? -2 : -1) ?? 1
  const rows = numel(a.shape) / Math.max(1, k)
  const details = [
    `${rows}×${n}×${k}`,
    ...(transposeA ? ['aᵀ'] : []),
    ...(transposeB ? ['bᵀ'] : []),
    ...(bias ? ['+ bias'] : []),
    ...(activation && activation !== 'none' ? [activation] : []),
    ...(accumulateInto ? ['accumulated'] : []),
  ]
  return { flops: 2 * rows * n * k, shape: details.join(' ') }
}

/** 2·pairs·dims per head, over the pairs that causality and window keep; a block mask, whose tiles are on the device, counts as full. */
function attentionWork(q: Tensor, k: Tensor, options: AttentionOptions = {}, dims: number): KernelWork {
  const { cuSeqlensQ, cuSeqlensK } = options
  const sequences = cuSeqlensQ && cuSeqlensK ? lengths(cuSeqlensQ).map((seqlenQ, i) => [seqlenQ, lengths(cuSeqlensK)[i] ?? 0]) : undefined
  const [batchSize, seqlenQ, seqlenK] = [q.shape[0] ?? 1, q.shape[1] ?? 0, k.shape[1] ?? 0]
  const pairs = sequences
    ? sequences.reduce((sum, [rows = 0, keys = 0]) => sum + visiblePairs(rows, keys, options), 0)
    : batchSize * visiblePairs(seqlenQ, seqlenK, options)
  const shape = [q.shape.join('×'), ...(sequences || seqlenQ === seqlenK ? [] : [`Sk ${seqlenK}`]), ...(options.causal ? ['causal'] : [])]
  return { flops: 2 * (q.shape.at(-2) ?? 1) * pairs * dims, shape: shape.join(' ') }
}

/** Σ over rows i of the keys j with diagonalMin ≤ j − i ≤ diagonalMax. */
export function visiblePairs(
  seqlenQ: number,
  seqlenK: number,
  { causal = false, causalAlign = 'bottom-right', windowSize = [-1, -1] }: AttentionOptions,
): number {
  const shift = seqlenK - seqlenQ
  const causalMax = causal ? (causalAlign === 'bottom-right' ? shift : 0) : Number.POSITIVE_INFINITY
  const diagonalMin = windowSize[0] < 0 ? Number.NEGATIVE_INFINITY : shift - windowSize[0]
  const diagonalMax = Math.min(causalMax, windowSize[1] < 0 ? Number.POSITIVE_INFINITY : shift + windowSize[1])
  let pairs = 0
  for (let i = 0; i < seqlenQ; i++) {
    pairs += Math.max(0, Math.min(seqlenK - 1, i + diagonalMax) - Math.max(0, i + diagonalMin) + 1)
  }
  return pairs
}

function lengths(cuSeqlens: Int32Array): number[] {
  return Array.from(cuSeqlens.subarray(1), (end, i) => end - (cuSeqlens[i] as number))
}

function lossWork(x: Tensor, weight: Tensor, products: number): KernelWork {
  const [vocabSize, channels] = [weight.shape[0] ?? 0, weight.shape[1] ?? 0]
  const rows = numel(x.shape) / Math.max(1, channels)
  return { flops: 2 * products * rows * vocabSize * channels, shape: `${rows}×${vocabSize}×${channels}` }
}

/** Tensors that an argument stands for; those of an option `out` are results already. */
function operandsIn(argument: unknown): Tensor[] {
  if (isTensor(argument) || typeof argument !== 'object' || argument === null) return tensorsIn(argument)
  return Object.entries(argument).flatMap(([name, value]) => (name !== 'out' && isTensor(value) ? [value] : []))
}

function tensorsIn(value: unknown): Tensor[] {
  if (isTensor(value)) return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).filter(isTensor) : []
}

function headDimOf(tensor: Tensor): number {
  return tensor.shape.at(-1) ?? 0
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'dtype' in value && 'strides' in value
}
