import { expect, test } from 'vitest'
import { DisposedError } from './errors/disposed-error'
import { ShapeError } from './errors/shape-error'
import { TestHost } from './host.testing'
import { contiguousStrides, isContiguous, numel } from './shape'
import { isTensor } from './tensor'

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

/** Nested arrays are the oracle: they know nothing of strides. */
type Nested = number | Nested[]
const nest = (data: readonly number[], shape: readonly number[]): Nested => {
  if (shape.length === 0) return data[0] as number
  const [size, ...rest] = shape as [number, ...number[]]
  const step = numel(rest)
  return range(size).map((i) => nest(data.slice(i * step, (i + 1) * step), rest))
}
const flat = (x: Nested): number[] => (typeof x === 'number' ? [x] : x.flatMap(flat))
const at = (x: Nested, index: readonly number[]): number => index.reduce<Nested>((part, i) => (part as Nested[])[i] as Nested, x) as number
const permuteNested = (x: Nested, shape: readonly number[], axes: readonly number[]): number[] => {
  const indices = axes.reduce<number[][]>(
    (list, axis) => list.flatMap((index) => range(shape[axis] as number).map((i) => [...index, i])),
    [[]],
  )
  return indices.map((index) => {
    const from = new Array<number>(shape.length)
    axes.forEach((axis, i) => {
      from[axis] = index[i] as number
    })
    return at(x, from)
  })
}
const sliceNested = (x: Nested, start: readonly number[], end: readonly number[]): Nested =>
  start.length === 0 ? x : (x as Nested[]).slice(start[0], end[0]).map((part) => sliceNested(part, start.slice(1), end.slice(1)))

const make = (shape: readonly number[]) => {
  const host = new TestHost()
  return { host, x: host.tensor(range(numel(shape)), shape), nested: nest(range(numel(shape)), shape) }
}

test.each([
  [
    [2, 3, 4],
    [2, 0, 1],
  ],
  [
    [2, 3, 4],
    [0, 2, 1],
  ],
  [[5], [0]],
  [[], []],
  [
    [2, 1, 3, 2],
    [3, 1, 0, 2],
  ],
  [
    [2, 0, 3],
    [2, 1, 0],
  ],
])('permute %j by %j reads as the nested arrays say', async (shape, axes) => {
  const { x, nested } = make(shape)
  const view = x.permute(axes)
  expect(view.shape).toEqual(axes.map((axis) => shape[axis]))
  expect([...(await view.read())]).toEqual(numel(shape) === 0 ? [] : permuteNested(nested, shape, axes))
})

test.each([
  [
    [4, 5],
    [1, 2],
    [3, 4],
  ],
  [[4, 5], [2], [4]],
  [
    [4, 5],
    [2, 0],
    [2, 5],
  ],
  [
    [2, 3, 4],
    [0, 1, 1],
    [2, 3, 3],
  ],
  [[3], [], []],
])('slice %j from %j to %j reads as the nested arrays say', async (shape, start, end) => {
  const { x, nested } = make(shape)
  expect([...(await x.slice(start, end).read())]).toEqual(flat(sliceNested(nested, start, end)))
})

test('views of views add up', async () => {
  const { x, nested } = make([4, 5, 6])
  const view = x.slice([1, 0, 2], [4, 5, 5]).permute([2, 0, 1]).slice([1, 1], [3, 3])
  const sliced = sliceNested(nested, [1, 0, 2], [4, 5, 5])
  const expected = sliceNested(nest(permuteNested(sliced, [3, 5, 3], [2, 0, 1]), [3, 3, 5]), [1, 1], [3, 3])
  expect([...(await view.read())]).toEqual(flat(expected))
})

test.each([
  [
    [2, 3, 4],
    [6, 4],
  ],
  [[2, 3, 4], [24]],
  [
    [2, 3, 4],
    [1, 2, 12, 1],
  ],
  [[24], [2, -1, 3]],
  [[1], []],
  [[], [1, 1]],
  [
    [0, 3],
    [5, 0],
  ],
])('reshape %j to %j keeps the elements in order', async (from, to) => {
  const { x } = make(from)
  const view = x.reshape(to)
  expect(view.shape).toEqual(to.map((size) => (size === -1 ? 4 : size)))
  expect([...(await view.read())]).toEqual(range(numel(from)))
})

// Every reshape of every view below either reads like the elements in order, or is refused when no view exists.
test('reshape of strided views is right, or refused', async () => {
  const views = [
    (t: ReturnType<typeof make>['x']) => t,
    (t: ReturnType<typeof make>['x']) => t.slice([0, 1], [2, 3]),
    (t: ReturnType<typeof make>['x']) => t.slice([0, 0, 0], [2, 4, 4]),
    (t: ReturnType<typeof make>['x']) => t.permute([1, 0, 2]),
    (t: ReturnType<typeof make>['x']) => t.permute([0, 2, 1]),
    (t: ReturnType<typeof make>['x']) => t.slice([1], [2]).permute([1, 0, 2]),
  ]
  let refused = 0
  for (const view of views) {
    const { x } = make([2, 4, 6])
    const from = view(x)
    const n = numel(from.shape)
    const elements = [...(await from.read())]
    const targets = range(n).flatMap((i) =>
      n % (i + 1) === 0
        ? [
            [i + 1, n / (i + 1)],
            [1, i + 1, 1, n / (i + 1)],
            [2, (i + 1) / 2, n / (i + 1)],
          ]
        : [],
    )
    for (const to of [[n], from.shape, ...targets].filter((shape) => shape.every(Number.isInteger))) {
      try {
        expect([...(await from.reshape(to).read())]).toEqual(elements)
      } catch (error) {
        expect(error).toBeInstanceOf(ShapeError)
        expect(isContiguous(from.shape, from.strides)).toBe(false)
        expect(to).not.toEqual(from.shape)
        refused++
      }
    }
  }
  expect(refused).toBeGreaterThan(10)
})

test('a head axis splits off a slice of a packed projection without a copy', () => {
  const { x } = make([2, 3, 3 * 8])
  const k = x.slice([0, 0, 8], [2, 3, 16]).reshape([2, 3, 2, 4])
  expect(k.strides).toEqual([72, 24, 4, 1])
  expect(k.byteOffset).toBe(32)
})

test('misuse of views is a ShapeError that says what was expected', () => {
  const { x } = make([2, 3])
  expect(() => x.reshape([4])).toThrow(new ShapeError('reshape', '6 elements as in [2, 3]', '[4]'))
  expect(() => x.reshape([-1, -1])).toThrow(ShapeError)
  expect(() => x.reshape([-1, 4])).toThrow(ShapeError)
  expect(() => x.reshape([-2, -3])).toThrow(ShapeError)
  expect(() => x.permute([1, 0]).reshape([6])).toThrow('a view of [3, 2] with strides [1, 3] that needs no copy, got [6]; copy() it first')
  expect(() => x.permute([0])).toThrow('permute: axes must be a permutation of 0..1, got [0]')
  expect(() => x.permute([0, 0])).toThrow(ShapeError)
  expect(() => x.permute([0, 1.5])).toThrow(ShapeError)
  expect(() => x.slice([0, 2], [2, 4])).toThrow('slice: 0 ≤ start ≤ end ≤ 3 on axis 1, got [2, 4)')
  expect(() => x.slice([1], [0])).toThrow(ShapeError)
  expect(() => x.slice([0, 0, 0], [1, 1, 1])).toThrow(ShapeError)
  expect(() => x.slice([0], [1, 1])).toThrow(ShapeError)
})

test('storage lives as long as the last handle', async () => {
  const { host, x } = make([2, 3])
  const view = x.permute([1, 0])
  const other = view.slice([0], [1])
  expect(host.storages[0]?.references).toBe(3)
  x.dispose()
  x.dispose()
  expect(host.storages[0]?.references).toBe(2)
  expect([...(await view.read())]).toEqual([0, 3, 1, 4, 2, 5])
  view[Symbol.dispose]()
  other.dispose()
  expect(host.storages[0]?.references).toBe(0)
})

test('a refused view keeps no reference', () => {
  const { host, x } = make([2, 3])
  expect(() => x.slice([3], [4])).toThrow(ShapeError)
  expect(() => x.reshape([5])).toThrow(ShapeError)
  expect(host.storages[0]?.references).toBe(1)
})

test('any use after dispose is a DisposedError', async () => {
  const { x } = make([2, 3])
  x.dispose()
  expect(x.disposed).toBe(true)
  expect(() => x.reshape([6])).toThrow(new DisposedError('reshape', 'tensor [2, 3]'))
  expect(() => x.permute([1, 0])).toThrow(DisposedError)
  expect(() => x.slice([0], [1])).toThrow(DisposedError)
  await expect(x.read()).rejects.toThrow(DisposedError)
})

test('a write through one handle counts for all', () => {
  const { host, x } = make([4])
  const view = x.reshape([2, 2])
  ;(host.storages[0] as { version: number }).version++
  expect([x.version, view.version]).toEqual([1, 1])
})

test('isTensor goes by shape, not by class', () => {
  const { x } = make([2])
  expect(isTensor(x)).toBe(true)
  expect(isTensor({ shape: [], strides: [], dtype: 'f32', read: () => {} })).toBe(true)
  for (const value of [null, undefined, 3, 'x', {}, [], { shape: [1] }]) expect(isTensor(value)).toBe(false)
})

test('shape helpers', () => {
  expect(contiguousStrides([2, 3, 4])).toEqual([12, 4, 1])
  expect(contiguousStrides([])).toEqual([])
  expect(numel([])).toBe(1)
  expect(numel([3, 0])).toBe(0)
  expect(isContiguous([2, 1, 3], [3, 77, 1])).toBe(true)
  expect(isContiguous([2, 3], [4, 1])).toBe(false)
  expect(isContiguous([0, 3], [9, 9])).toBe(true)
})
