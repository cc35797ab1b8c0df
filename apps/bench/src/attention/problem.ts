import { f16BitsToF32, f32ToF16Bits } from '@tilegrad/core-math'
import type { TypedArray } from '@tilegrad/tensor'
import type { ElementType } from '../check'
import { randomNormal } from '../random'

/** `backward` is that pass alone, from results of a forward pass that is not timed. */
export type Pass = 'forward' | 'backward' | 'forward+backward'

/** q and dout are [batchSize, seqlenQ, nHeads, headDim], k and v [batchSize, seqlenK, nHeadsK, headDim]; causal is aligned bottom-right. */
export interface AttentionShape {
  readonly batchSize: number
  readonly seqlenQ: number
  readonly seqlenK: number
  readonly nHeads: number
  /** Divides nHeads; nHeads unless given. */
  readonly nHeadsK?: number
  readonly headDim: number
  readonly causal: boolean
}

export interface AttentionInputs {
  readonly q: Float32Array
  readonly k: Float32Array
  readonly v: Float32Array
  readonly dout: Float32Array
}

/** `logitScale` multiplies q: the standard deviation of the scores. */
export function randomInputs(shape: AttentionShape, logitScale = 1): AttentionInputs {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  const values = (seqlen: number, heads: number, seed: number) => randomNormal(batchSize * seqlen * heads * headDim, seed)
  const q = values(seqlenQ, nHeads, 1)
  if (logitScale !== 1) for (let i = 0; i < q.length; i++) q[i] = (q[i] as number) * logitScale
  return { q, k: values(seqlenK, keyHeads(shape), 2), v: values(seqlenK, keyHeads(shape), 3), dout: values(seqlenQ, nHeads, 4) }
}

/** Numbers as an element type holds them: what the oracle must be given. */
export function roundTo(type: ElementType, values: Float32Array): Float32Array {
  return type === 'f32' ? values : values.map((value) => f16BitsToF32(f32ToF16Bits(value)))
}

/** Heads of k and v. */
export function keyHeads({ nHeads, nHeadsK = nHeads }: Pick<AttentionShape, 'nHeads' | 'nHeadsK'>): number {
  return nHeadsK
}

/** Results on the host, in the layout of the inputs; lse [batchSize, nHeads, seqlenQ] where there is one. */
export interface AttentionResult {
  readonly out: TypedArray
  readonly lse?: TypedArray | undefined
  readonly gradients?: { readonly dq: TypedArray; readonly dk: TypedArray; readonly dv: TypedArray } | undefined
}

/** Something that computes attention, loaded and holding its inputs. Each `call` replaces the result of the one before. */
export interface AttentionRunner {
  /** What it runs on, with its version or instruction set. */
  readonly device: string
  call(): void | Promise<void>
  /** Resolves when all calls so far are done. */
  sync(): Promise<void>
  result(): Promise<AttentionResult>
  /** Most bytes that tensors took since the inputs were there, the inputs not counted; null if it does not count. */
  peakTensorBytes(): number | null
  close(): Promise<void>
}
