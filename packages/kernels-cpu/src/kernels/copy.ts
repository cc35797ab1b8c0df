import { bytesPerElement, checkCopy, type Kernels, type Tensor } from '@tilegrad/tensor'
import type { CpuTensor, KernelContext } from '../kernel-context'
import { type Axis, mergeAxes } from './axes'

const copyAxes = 5

/** Copies between strided tensors in native/copy-inl.h, which says what the arguments are. */
export function copyKernels(ctx: KernelContext): Pick<Kernels, 'copy'> {
  return {
    copy(x, options = {}) {
      checkCopy(ctx.backend, x, options)
      const out = (options.out as CpuTensor | undefined) ?? ctx.empty(x.shape, x.dtype)
      if (options.out) ctx.touch(out)
      const bytes = bytesPerElement[x.dtype]
      copyOver(ctx, axesOf(x, out), ctx.address(x), ctx.address(out), bytes)
      return out
    },
  }
}

/** Strides in the source and in the target. */
type CopyAxis = Axis<[number, number]>

/** Axes in the order of the target's memory, but the one that runs along the source's memory second to last at least: the plane that is transposed. */
function axesOf(from: Tensor, to: Tensor): CopyAxis[] {
  const axes = from.shape.map((size, i): CopyAxis => ({ size, strides: [from.strides[i] as number, to.strides[i] as number] }))
  const merged = mergeAxes(axes.sort((a, b) => b.strides[1] - a.strides[1]))
  const along = merged.findIndex(({ strides }) => strides[0] === 1)
  if (along >= 0 && along < merged.length - 2) merged.splice(-1, 0, ...merged.splice(along, 1))
  return merged
}

function copyOver(ctx: KernelContext, axes: readonly CopyAxis[], from: number, to: number, bytes: number): void {
  const [outermost, ...inner] = axes
  if (outermost && axes.length > copyAxes) {
    for (let i = 0; i < outermost.size; i++) {
      copyOver(ctx, inner, from + i * outermost.strides[0] * bytes, to + i * outermost.strides[1] * bytes, bytes)
    }
    return
  }
  const padding = new Array<CopyAxis>(copyAxes - axes.length).fill({ size: 1, strides: [1, 1] })
  ctx.run('copy', from, to, bytes, ...[...padding, ...axes].flatMap(({ size, strides }) => [size, ...strides]))
}
