import { bytesPerElement, isContiguous, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { WebGPUTensor } from '../tensor'
import { asRows } from './rows'

// A device binds at most `maxStorageBufferBindingSize` bytes of a buffer, 128 MiB by default. Kernels take larger tensors piece by piece; what they
// cannot cut, `run` refuses by name.

type Named<Names extends string> = Readonly<Record<Names, Tensor>>

/** Elements, of two bytes or more, that fill a whole number of any device's steps between offsets of bindings. */
const ALIGNED = 256

/**
 * Tensors of one shape as they are if each can be bound, else cut into flat pieces where all are contiguous.
 *
 * @param unit multiple of ALIGNED: pieces begin at multiples of so many elements
 */
export function inPieces<Names extends string>(ctx: KernelContext, tensors: Named<Names>, unit = ALIGNED): Record<Names, Tensor>[] {
  const entries = Object.entries(tensors) as [Names, Tensor][]
  if (entries.every(([, tensor]) => ctx.fits(tensor))) return [tensors]
  if (entries.some(([, { shape, strides }]) => !isContiguous(shape, strides))) return [tensors]
  const elements = numel(entries[0]?.[1].shape ?? [])
  const width = 4 // bytes, the widest element
  const step = Math.max(1, Math.floor(bindable(ctx) / width / unit)) * unit
  return Array.from({ length: Math.ceil(elements / step) }, (_, i) => {
    const pieces = entries.map(([name, tensor]) => {
      const flat = ctx.hold(tensor.reshape([-1]))
      return [name, ctx.hold(flat.slice([i * step], [Math.min(elements, (i + 1) * step)]))]
    })
    return Object.fromEntries(pieces) as Record<Names, Tensor>
  })
}

/** Rows firstRow, … of tensors [..., C] of as many rows, as [rows, C] where that is not all of them. */
export interface RowPiece<Names extends string> {
  readonly firstRow: number
  readonly rows: number
  readonly tensors: Record<Names, Tensor>
}

/** Tensors [..., C] as they are if each can be bound, else their rows in ranges that can be. */
export function rowPieces<Names extends string>(ctx: KernelContext, tensors: Named<Names>): RowPiece<Names>[] {
  const entries = Object.entries(tensors) as [Names, Tensor][]
  const rows = numel((entries[0] as [Names, Tensor])[1].shape.slice(0, -1))
  const whole = [{ firstRow: 0, rows, tensors }]
  if (entries.every(([, tensor]) => ctx.fits(tensor))) return whole
  const matrices = entries.map(([name, tensor]): [Names, WebGPUTensor] => [name, asMatrix(ctx, tensor)])
  const rowBytes = Math.max(...matrices.map(([, { strides, dtype }]) => (strides[0] as number) * bytesPerElement[dtype]))
  const step = Math.floor(bindable(ctx) / rowBytes)
  if (step < 1) return whole
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => {
    const firstRow = i * step
    const end = Math.min(rows, firstRow + step)
    const pieces = matrices.map(([name, matrix]) => [name, ctx.hold(matrix.slice([firstRow], [end]))])
    return { firstRow, rows: end - firstRow, tensors: Object.fromEntries(pieces) as Record<Names, Tensor> }
  })
}

function asMatrix(ctx: KernelContext, tensor: Tensor): WebGPUTensor {
  const { tensor: given, rows, columns } = asRows(ctx, tensor)
  return ctx.hold(given.reshape([rows, columns]))
}

/** Bytes of a piece, wherever it begins. */
function bindable({ limits }: KernelContext): number {
  return limits.maxStorageBufferBindingSize - limits.minStorageBufferOffsetAlignment
}

/** Elements from … to − 1 along an axis, which may be counted from the last. */
export function part(ctx: KernelContext, tensor: Tensor, axis: number, from: number, to: number): WebGPUTensor {
  const { shape } = tensor
  const at = axis < 0 ? shape.length + axis : axis
  const before = shape.slice(0, at)
  return ctx.hold(tensor.slice([...before.map(() => 0), from], [...before, to]))
}

/** Where to cut `size` elements in two: at a multiple of a tile where there are many, of vectors of four where there are some. */
export function middleOf(size: number): number {
  const unit = size > 256 ? 128 : size > 8 ? 4 : 1
  return Math.ceil(size / 2 / unit) * unit
}
