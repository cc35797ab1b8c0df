import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase } from '../kernel-case'
import { same } from './matmul'
import type { Sizes } from './sizes'

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

const SHAPES: readonly (readonly number[])[] = [[], [1], [7], [0, 3], [16], [33, 65], [2, 3, 5, 17], [4097]]

/** gelu, swiglu, add, scale and copy, with their gradients. */
export function elementwiseCases(sizes: Sizes): KernelCase[] {
  const shapes = sizes === 'full' ? [...SHAPES, [3, 70001]] : SHAPES
  return shapes.flatMap((shape) => {
    const layouts: Layout[] =
      shape.length === 0 ? ['contiguous'] : shape.length === 1 ? ['contiguous', 'padded'] : ['contiguous', 'padded', 'permuted']
    return layouts.flatMap((layout) => [gelu(shape, layout), swiglu(shape, layout), sums(shape, layout), copies(shape, layout)])
  })
}

function gelu(shape: readonly number[], layout: Layout): KernelCase {
  return kernelCase(
    'gelu',
    `[${shape.join(', ')}] ${layout}`,
    (random) => ({
      // Some elements far out, where tanh saturates and an exp of its argument overflows.
      x: host(
        shape,
        random.normals(size(shape), 2).map((x, i) => (i % 11 === 10 ? 40 * x : x)),
        { layout },
      ),
      dout: host(shape, random.normals(size(shape)), { layout }),
      out: target(shape, random.normals(size(shape))),
      inPlace: target(shape, random.normals(size(shape))),
    }),
    ({ kernels }, { x, dout, out, inPlace }) => {
      const given = same(kernels.geluForward(x, { out }), out)
      return {
        forward: { fresh: kernels.geluForward(x), given, inPlace: same(kernels.geluForward(inPlace, { out: inPlace }), inPlace) },
        gradient: { dx: kernels.geluBackward(dout, x) },
      }
    },
  )
}

function swiglu(shape: readonly number[], layout: Layout): KernelCase {
  return kernelCase(
    'swiglu',
    `[${shape.join(', ')}] ${layout}`,
    (random) => ({
      gate: host(
        shape,
        random.normals(size(shape), 2).map((x, i) => (i % 11 === 10 ? 40 * x : x)),
        { layout },
      ),
      up: host(shape, random.normals(size(shape)), { layout }),
      dout: host(shape, random.normals(size(shape)), { layout }),
      out: target(shape, random.normals(size(shape))),
    }),
    ({ kernels }, { gate, up, dout, out }) => {
      const { dgate, dup } = kernels.swigluBackward(dout, gate, up)
      return {
        forward: { fresh: kernels.swigluForward(gate, up), given: same(kernels.swigluForward(gate, up, { out }), out) },
        gradient: { dgate, dup },
      }
    },
  )
}

function sums(shape: readonly number[], layout: Layout): KernelCase {
  return kernelCase(
    'add and scale',
    `[${shape.join(', ')}] ${layout}`,
    (random) => ({
      a: host(shape, random.normals(size(shape)), { layout }),
      b: host(shape, random.normals(size(shape)), { layout }),
      total: target(shape, random.normals(size(shape))),
      scaled: target(shape, random.normals(size(shape))),
    }),
    ({ kernels }, { a, b, total, scaled }) => ({
      forward: {
        sum: kernels.add(a, b),
        double: kernels.add(a, a),
        total: same(kernels.add(total, a, { out: total }), total),
        product: kernels.scale(a, -1.7),
        zero: kernels.scale(a, 0),
        scaled: same(kernels.scale(scaled, 3, { out: scaled }), scaled),
      },
    }),
  )
}

function copies(shape: readonly number[], layout: Layout): KernelCase {
  const wide = shape.map((n, axis) => (axis === 0 ? n + 3 : n))
  return kernelCase(
    'copy',
    `[${shape.join(', ')}] ${layout}`,
    (random) => ({
      x: host(shape, random.normals(size(shape)), { layout }),
      integers: host(
        shape,
        Int32Array.from({ length: size(shape) }, () => random.integer(-(2 ** 31), 2 ** 31 - 1)),
        { layout },
      ),
      cache: target(wide, random.normals(size(wide))),
    }),
    ({ kernels }, { x, integers, cache }) => {
      if (shape.length > 0) {
        // Into rows 2.. of a larger tensor, as a KV cache is filled; the rest of it must stay.
        const rows = cache.slice([2], [2 + (shape[0] as number)])
        same(kernels.copy(x, { out: rows }), rows)
        rows.dispose()
      }
      // A view whose last axis is not contiguous is fine here.
      const axes = shape.map((_, axis) => shape.length - 1 - axis)
      const reversed = x.permute(axes)
      const transposed = kernels.copy(reversed)
      reversed.dispose()
      return { exact: { copy: kernels.copy(x), integers: kernels.copy(integers), transposed, cache } }
    },
  )
}
