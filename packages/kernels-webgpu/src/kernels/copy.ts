import { bytesPerElement, checkCopy, type Kernels, numel, type Tensor } from '@tilegrad/tensor'
import type { KernelContext, View } from '../kernel-context'
import { defineShader } from '../shader'
import text from '../shaders/copy.wgsl'
import { elementsWgsl } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { type Axis, mergeAxes } from './axes'
import { WORKGROUP } from './elements'
import { middleOf, part } from './pieces'

export const copy = defineShader('copy', text, [{}], [elementsWgsl])

/** Axes of the shader. */
const COPY_AXES = 5

/** Copies between strided tensors in shaders/copy.wgsl. */
export function copyKernels(ctx: KernelContext): Pick<Kernels, 'copy'> {
  return {
    copy(x, options = {}) {
      checkCopy(ctx.backend, x, options)
      const out = (options.out as WebGPUTensor | undefined) ?? ctx.empty(x.shape, x.dtype)
      if (options.out) ctx.touch(out)
      if (numel(x.shape) > 0) copyPieces(ctx, x, out)
      return out
    },
  }
}

/** Cuts an axis in two until both can be bound: the one along which what cannot be reaches furthest. */
function copyPieces(ctx: KernelContext, x: Tensor, out: Tensor): void {
  const large = [x, out].find((tensor) => !ctx.fits(tensor))
  if (!large) {
    const [from, to] = [ctx.view(x), ctx.view(out)]
    copyOver(ctx, axesOf(x, out), { view: from, start: from.start }, { view: to, start: to.start }, bytesPerElement[x.dtype])
    return
  }
  const reaches = large.shape.map((size, axis) => (size - 1) * (large.strides[axis] as number))
  const axis = reaches.indexOf(Math.max(...reaches))
  const size = large.shape[axis] as number
  const middle = middleOf(size)
  for (const [from, to] of [
    [0, middle],
    [middle, size],
  ] as const) {
    copyPieces(ctx, part(ctx, x, axis, from, to), part(ctx, out, axis, from, to))
  }
}

/** Strides in the source and in the target. */
type CopyAxis = Axis<[number, number]>

interface End {
  readonly view: View
  /** First element, counted from the start of the binding. */
  readonly start: number
}

/** Axes in the order of the target's memory. */
function axesOf(from: Tensor, to: Tensor): CopyAxis[] {
  const axes = from.shape.map((size, i): CopyAxis => ({ size, strides: [from.strides[i] as number, to.strides[i] as number] }))
  return mergeAxes(axes.sort((a, b) => b.strides[1] - a.strides[1]))
}

function copyOver(ctx: KernelContext, axes: readonly CopyAxis[], from: End, to: End, bytes: number): void {
  const [outermost, ...inner] = axes
  if (outermost && axes.length > COPY_AXES) {
    const at = ({ view, start }: End, stride: number) => ({ view, start: start + stride })
    for (let i = 0; i < outermost.size; i++) {
      copyOver(ctx, inner, at(from, i * outermost.strides[0]), at(to, i * outermost.strides[1]), bytes)
    }
    return
  }
  if (bytes === 2) {
    const pairs = asPairs(axes, from, to)
    if (pairs) runCopy(ctx, 'copyWords', ...pairs)
    else runCopy(ctx, 'copyHalves', axes, from, to)
  } else runCopy(ctx, 'copyWords', axes, from, to)
}

/** The same copy in elements of four bytes, where all positions and the innermost axis are even. */
function asPairs(axes: readonly CopyAxis[], from: End, to: End): [CopyAxis[], End, End] | undefined {
  const last = axes.at(-1)
  if (last?.strides[0] !== 1 || last.strides[1] !== 1) return
  if ([last.size, from.start, to.start].some((position) => position % 2 !== 0)) return
  const outer = axes.slice(0, -1)
  if (outer.some(({ strides }) => strides.some((stride) => stride % 2 !== 0))) return
  const halved = outer.map(({ size, strides: [a, b] }): CopyAxis => ({ size, strides: [a / 2, b / 2] }))
  const half = ({ view, start }: End): End => ({ view, start: start / 2 })
  return [[...halved, { size: last.size / 2, strides: [1, 1] }], half(from), half(to)]
}

function runCopy(ctx: KernelContext, entry: 'copyWords' | 'copyHalves', axes: readonly CopyAxis[], from: End, to: End): void {
  const elements = axes.reduce((n, { size }) => n * size, 1)
  const last = axes.reduce((at, { size, strides }) => at + (size - 1) * strides[1], to.start)
  const count = entry === 'copyWords' ? elements : Math.floor(last / 2) - Math.floor(to.start / 2) + 1
  // An axis of one element is never left: any stride will do that divides without remainder.
  const beyond = last + 1
  const padding = new Array<CopyAxis>(COPY_AXES - axes.length).fill({ size: 1, strides: [0, beyond] })
  const params: Record<string, number> = { count, startFrom: from.start, startTo: to.start }
  for (const [i, { size, strides }] of [...padding, ...axes].entries()) {
    params[`size${i}`] = size
    params[`from${i}`] = strides[0]
    params[`to${i}`] = strides[1]
  }
  const bindings = { source: from.view, dest: to.view }
  ctx.run({ shader: copy, entry, constants: {}, bindings, params, workgroups: ctx.grid(Math.ceil(count / WORKGROUP)) })
}
