import { type Backend, isTensor, type Tensor, type TypedArray } from '@tilegrad/tensor'
import type { ConformanceCase } from './conformance-case'
import { expectError, expectReject } from './expect-error'

/** What a backend promises beside its kernels: making, viewing, reading and freeing tensors. */
export function contractCases(): ConformanceCase[] {
  return CASES.map(([name, test]) => ({
    group: 'backend',
    name,
    async run(backend) {
      const bytes = backend.memory().bytes
      await test(backend)
      await backend.sync()
      expectEqual('bytes held after the case', backend.memory().bytes, bytes)
    },
  }))
}

const CASES: readonly (readonly [name: string, test: (backend: Backend) => Promise<void>])[] = [
  ['info says what it is', info],
  ['tensor() copies and infers dtypes', infersDTypes],
  ['tensor() refuses data that does not fit', refusesData],
  ['zeros() and empty()', zerosAndEmpty],
  ['read() of views', readsViews],
  ['views share storage and its version', sharesStorage],
  ['reshape() refuses what needs a copy', refusesReshape],
  ['work that is enqueued outlives its tensors', outlives],
  ['dispose() twice, and use after it', usesDisposed],
  ['memory() counts bytes and their peak', countsMemory],
  ['scope() frees what it does not return', scopes],
  ['keep() takes a tensor out of every scope', keeps],
  ['calls run in order', ordered],
]

async function info({ info }: Backend): Promise<void> {
  for (const key of ['name', 'device', 'driver'] as const) {
    if (typeof info[key] !== 'string' || info[key] === '') throw new Error(`info.${key} must say something`)
  }
  if (typeof info.features !== 'object') throw new Error('info.features must be an object')
}

async function infersDTypes(backend: Backend): Promise<void> {
  const data = Float32Array.of(1, -2, 0.5)
  const floats = backend.tensor(data, [3])
  data.fill(9)
  const made: [Tensor, string, number[]][] = [
    [floats, 'f32', [1, -2, 0.5]],
    [backend.tensor([1, 2], [2, 1]), 'f32', [1, 2]],
    [backend.tensor(Float64Array.of(0.25), []), 'f32', [0.25]],
    [backend.tensor(Int32Array.of(-1, 2 ** 31 - 1), [2]), 'i32', [-1, 2 ** 31 - 1]],
    [backend.tensor([5, -7], [2], 'i32'), 'i32', [5, -7]],
    [backend.tensor(Uint16Array.of(0x3c00, 1), [2], 'f16'), 'f16', [0x3c00, 1]],
    [backend.tensor(Uint16Array.of(0x3f80), [1], 'bf16'), 'bf16', [0x3f80]],
    [backend.tensor([], [0, 4]), 'f32', []],
  ]
  for (const [tensor, dtype, expected] of made) {
    if (!isTensor(tensor)) throw new Error('tensor() must make a tensor')
    expectEqual('dtype', tensor.dtype, dtype)
    expectElements('elements', await tensor.read(), expected)
    tensor.dispose()
  }
}

async function refusesData(backend: Backend): Promise<void> {
  expectError('ShapeError', () => backend.tensor([1, 2, 3], [2, 2]))
  expectError('ShapeError', () => backend.tensor([], [-1, 0]))
  expectError('ShapeError', () => backend.empty([2, -1]))
  expectError('ShapeError', () => backend.zeros([1.5]))
  expectError('DTypeError', () => backend.tensor(Uint16Array.of(1), [1]))
  expectError('DTypeError', () => backend.tensor(Float32Array.of(1), [1], 'f16'))
  expectError('DTypeError', () => backend.tensor(Float32Array.of(1), [1], 'i32'))
  expectError('DTypeError', () => backend.tensor([1], [1], 'f64' as never))
}

async function zerosAndEmpty(backend: Backend): Promise<void> {
  backend.tensor(new Float32Array(1000).fill(Number.NaN), [1000]).dispose()
  for (const dtype of ['f32', 'f16', 'bf16', 'i32'] as const) {
    const zeros = backend.zeros([10, 100], dtype)
    expectElements(`zeros ${dtype}`, await zeros.read(), new Array(1000).fill(0))
    zeros.dispose()
    const empty = backend.empty([3, 0, 2], dtype)
    expectEqual('length of an empty tensor', (await empty.read()).length, 0)
    empty.dispose()
  }
  const scalar = backend.empty([])
  expectEqual('length of a scalar', (await scalar.read()).length, 1)
  scalar.dispose()
}

async function readsViews(backend: Backend): Promise<void> {
  const x = backend.tensor(range(2 * 3 * 4), [2, 3, 4])
  const permuted = x.permute([2, 0, 1])
  const slice = x.slice([0, 1, 1], [2, 3, 3])
  const both = permuted.slice([1], [3])
  const flat = x.reshape([-1, 2])
  const row = both.slice([0, 1], [2, 2])
  expectElements('permute', await permuted.read(), gather([4, 2, 3], [1, 12, 4], 0))
  expectElements('slice', await slice.read(), gather([2, 2, 2], [12, 4, 1], 5))
  expectElements('slice of permute', await both.read(), gather([2, 2, 3], [1, 12, 4], 1))
  expectElements('reshape', await flat.read(), range(24))
  expectElements('slice twice', await row.read(), gather([2, 1, 3], [1, 12, 4], 13))
  for (const tensor of [x, permuted, slice, both, flat, row]) tensor.dispose()
}

async function sharesStorage(backend: Backend): Promise<void> {
  const x = backend.zeros([4, 3])
  const row = x.slice([2], [3])
  const ones = backend.tensor([1, 2, 3], [1, 3])
  const version = x.version
  backend.kernels.copy(ones, { out: row })
  if (x.version <= version) throw new Error('a write through a view must count up the version of the tensor that it is a view of')
  x.dispose()
  expectElements('the view after its origin was disposed', await row.read(), [1, 2, 3])
  row.dispose()
  ones.dispose()
}

async function refusesReshape(backend: Backend): Promise<void> {
  const x = backend.tensor(range(12), [3, 4])
  const transposed = x.permute([1, 0])
  expectError('ShapeError', () => transposed.reshape([12]))
  expectError('ShapeError', () => x.reshape([5]))
  expectError('ShapeError', () => x.permute([0, 0]))
  expectError('ShapeError', () => x.slice([0], [4]))
  transposed.dispose()
  x.dispose()
}

async function outlives(backend: Backend): Promise<void> {
  const x = backend.tensor(range(5000), [5000])
  const doubled = backend.kernels.scale(x, 2)
  x.dispose()
  const reused = backend.tensor(new Float32Array(5000).fill(Number.NaN), [5000])
  const reading = doubled.read()
  doubled.dispose()
  const again = backend.zeros([5000])
  expectElements(
    'scale of a tensor that was disposed at once',
    await reading,
    range(5000).map((v) => 2 * v),
  )
  reused.dispose()
  again.dispose()
}

async function usesDisposed(backend: Backend): Promise<void> {
  const x = backend.tensor([1, 2], [2])
  const view = x.reshape([2, 1])
  expectEqual('disposed', x.disposed, false)
  x.dispose()
  x.dispose()
  expectEqual('disposed', x.disposed, true)
  await expectReject('DisposedError', x.read())
  expectError('DisposedError', () => x.reshape([1, 2]))
  expectError('DisposedError', () => x.permute([0]))
  expectError('DisposedError', () => x.slice([0], [1]))
  expectError('DisposedError', () => backend.kernels.scale(x, 2))
  expectElements('a view of it', await view.read(), [1, 2])
  view[Symbol.dispose]()
  expectEqual('disposed', view.disposed, true)
}

async function countsMemory(backend: Backend): Promise<void> {
  const before = backend.memory().bytes
  backend.resetPeakMemory()
  expectEqual('peak after a reset', backend.memory().peakBytes, before)
  const x = backend.zeros([1000, 100])
  const held = backend.memory().bytes - before
  if (held < 400_000) throw new Error(`100,000 floats must count as at least 400,000 bytes, got ${held}`)
  const view = x.reshape([-1])
  expectEqual('bytes of a view', backend.memory().bytes - before, held)
  x.dispose()
  expectEqual('bytes while a view lives', backend.memory().bytes - before, held)
  view.dispose()
  expectEqual('bytes after the last handle went', backend.memory().bytes, before)
  if (backend.memory().peakBytes < before + held) throw new Error('the peak must count what has been freed')
}

async function scopes(backend: Backend): Promise<void> {
  const before = backend.memory().bytes
  const kept = backend.scope(() => {
    const x = backend.zeros([100])
    const y = backend.scope(() => {
      backend.zeros([100])
      return backend.kernels.add(x, x)
    })
    const z = backend.zeros([100])
    return { list: [y.reshape([10, 10])], z, again: new Map([['z', z]]) }
  })
  expectElements('what a scope returned', await (kept.list[0] as Tensor).read(), new Array(100).fill(0))
  ;(kept.list[0] as Tensor).dispose()
  kept.z.dispose()
  expectEqual('bytes after a scope', backend.memory().bytes, before)
  try {
    backend.scope(() => {
      backend.zeros([100])
      throw new RangeError('from inside')
    })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
  expectEqual('bytes after a scope that threw', backend.memory().bytes, before)
  expectError('TilegradError', () => backend.scope(() => Promise.resolve(1)))
}

async function keeps(backend: Backend): Promise<void> {
  let kept: Tensor | undefined
  backend.scope(() => {
    backend.scope(() => {
      kept = backend.keep(backend.tensor([3], [1]))
    })
  })
  expectElements('a kept tensor', await (kept as Tensor).read(), [3])
  kept?.dispose()
}

async function ordered(backend: Backend): Promise<void> {
  const x = backend.tensor([1], [1])
  const reads: Promise<TypedArray>[] = []
  for (let i = 0; i < 10; i++) {
    backend.kernels.scale(x, 2, { out: x })
    reads.push(x.read())
  }
  const values = (await Promise.all(reads)).map((data) => data[0] as number)
  expectElements('x after each of ten doublings', values, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
  x.dispose()
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i)
}

/** Indices into the storage, which hold themselves. */
function gather(shape: readonly number[], strides: readonly number[], offset: number): number[] {
  return shape.reduce<number[]>((at, size, axis) => at.flatMap((a) => range(size).map((i) => a + i * (strides[axis] as number))), [offset])
}

function expectElements(what: string, got: ArrayLike<number>, expected: ArrayLike<number>): void {
  expectEqual(`length of ${what}`, got.length, expected.length)
  for (let i = 0; i < got.length; i++) expectEqual(`element ${i} of ${what}`, got[i], expected[i])
}

function expectEqual(what: string, got: unknown, expected: unknown): void {
  if (!Object.is(got, expected)) throw new Error(`${what}: ${String(got)} instead of ${String(expected)}`)
}
