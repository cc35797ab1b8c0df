import { DisposedError, OutOfMemoryError, ShapeError, type Tensor } from '@tilegrad/tensor'
import { afterEach, describe, expect, test } from 'vitest'
import type { CpuBackend } from './backend'
import { measurePeak } from './measure-peak'

const MiB = 2 ** 20

/** A start of the runtime under test. */
export type Create = (options: { threads?: number; maxBytes?: number }) => Promise<CpuBackend>

/** What every runtime does apart from arithmetic, which the conformance suite checks. */
export function testRuntime(create: Create, threads: number): void {
  let backend: CpuBackend
  afterEach(() => backend?.dispose())

  /** Enqueues work of some 0.1 s and more, during which nothing behind it can have run. */
  const keepBusy = () => {
    const sink = backend.empty([threads])
    backend.context.run('fma_peak', threads, backend.info.features.runtime === 'native' ? 3e7 : 1.5e7, backend.context.address(sink))
    sink.dispose()
  }

  describe('order', () => {
    test('read() gives the elements of the moment, not what later kernels make of them', async () => {
      backend = await create({ threads })
      const x = backend.tensor([1, 2, 3], [3])
      const one = backend.tensor([1, 1, 1], [3])
      keepBusy()
      const before = x.read()
      backend.kernels.add(x, one, { out: x })
      const after = x.read()
      expect([...(await before)]).toEqual([1, 2, 3])
      expect([...(await after)]).toEqual([2, 3, 4])
    })

    test('memory that is freed and reused while it is still in use keeps its elements until then', async () => {
      backend = await create({ threads })
      const results = []
      keepBusy()
      for (let i = 0; i < 50; i++) {
        const x = backend.tensor(new Float32Array(1000).fill(i), [1000])
        const y = backend.kernels.scale(x, 2)
        x.dispose()
        const z = backend.kernels.add(y, y)
        y.dispose()
        results.push(z.read())
        z.dispose()
      }
      for (const [i, result] of (await Promise.all(results)).entries()) expect(new Set(result)).toEqual(new Set([4 * i]))
    })

    test('far more work than the queue holds is done in order', async () => {
      backend = await create({ threads })
      const count = 20_000
      const from = backend.tensor(
        Float32Array.from({ length: count }, (_, i) => i),
        [count],
      )
      const to = backend.zeros([count / 2])
      const at = (tensor: Tensor, index: number) => backend.context.address(tensor) + 4 * index
      // Commands of different lengths: a short one must not slip into room that is too small for the long one before it.
      const padding = new Array<number>(60).fill(0)
      keepBusy()
      const some = []
      for (let i = 0; i < count; i++) {
        backend.context.run('memory_copy', at(to, i >> 1), at(from, i), 4, ...(i % 2 === 0 ? padding : []))
        if (i % 3000 === 1500) some.push(to.slice([i >> 1], [(i >> 1) + 1]).read())
      }
      expect(await to.read()).toEqual(Float32Array.from({ length: count / 2 }, (_, i) => 2 * i + 1))
      expect((await Promise.all(some)).map(([first]) => first)).toEqual([1500, 4500, 7500, 10_500, 13_500, 16_500, 19_500])
    })

    test('views are read row by row, whatever their strides', async () => {
      backend = await create({ threads })
      const x = backend.tensor(
        Int32Array.from({ length: 24 }, (_, i) => i),
        [2, 3, 4],
      )
      expect([...(await x.permute([0, 2, 1]).read())]).toEqual([
        0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23,
      ])
      expect([...(await x.slice([1, 1, 1], [2, 3, 3]).read())]).toEqual([17, 18, 21, 22])
    })
  })

  describe('memory', () => {
    test('live bytes and their peak are counted, and the peak can be reset', async () => {
      backend = await create({ threads })
      const own = backend.memory().bytes
      expect(own).toBe(threads * 2 * MiB)
      const x = backend.empty([MiB])
      const y = backend.zeros([2, MiB])
      y.dispose()
      expect(backend.memory()).toEqual({ bytes: own + 4 * MiB, peakBytes: own + 12 * MiB })
      backend.resetPeakMemory()
      expect(backend.memory()).toEqual({ bytes: own + 4 * MiB, peakBytes: own + 4 * MiB })
      const view = x.reshape([1024, 1024])
      x.dispose()
      expect(backend.memory().bytes).toBe(own + 4 * MiB)
      view.dispose()
      expect(backend.memory().bytes).toBe(own)
    })

    test('what does not fit throws OutOfMemoryError and leaves nothing behind', async () => {
      backend = await create({ threads, maxBytes: (2 * threads + 16) * MiB })
      const x = backend.zeros([2, 1024, 1024])
      const before = backend.memory().bytes
      expect(() => backend.empty([4, 1024, 1024])).toThrow(OutOfMemoryError)
      expect(() => backend.tensor(new Float32Array(4 * MiB), [4, MiB])).toThrow(OutOfMemoryError)
      // The first of its results fits, the second does not.
      expect(() => backend.kernels.swigluBackward(x, x, x)).toThrow(OutOfMemoryError)
      expect(backend.memory().bytes).toBe(before)
      expect((await backend.kernels.scale(x.slice([0], [1]), 1).read()).length).toBe(MiB)
    })

    test('zeros are zeros in memory that held something else', async () => {
      backend = await create({ threads })
      backend.tensor(new Float32Array(5000).fill(Number.NaN), [5000]).dispose()
      expect(new Set(await backend.zeros([5000]).read())).toEqual(new Set([0]))
    })
  })

  describe('life', () => {
    test('dispose() rejects pending reads with DisposedError', async () => {
      backend = await create({ threads })
      const x = backend.tensor([1], [1])
      keepBusy()
      const pending = Promise.allSettled([x.read(), backend.sync()])
      await backend.dispose()
      for (const result of await pending) {
        // Where commands run in the caller's thread there is nothing pending.
        if (backend.info.features.runtime === 'wasm' && threads === 1) expect(result.status).toBe('fulfilled')
        else expect((result as PromiseRejectedResult).reason).toBeInstanceOf(DisposedError)
      }
    })

    test('after dispose() everything throws DisposedError, and handles can still be disposed', async () => {
      backend = await create({ threads })
      const x = backend.tensor([1], [1])
      await Promise.all([backend.dispose(), backend.dispose()])
      expect(() => backend.tensor([1], [1])).toThrow(DisposedError)
      expect(() => backend.empty([1])).toThrow('empty: the cpu backend is disposed')
      expect(() => backend.kernels.scale(x, 2)).toThrow('scale: the cpu backend is disposed')
      await expect(x.read()).rejects.toThrow(DisposedError)
      await expect(backend.sync()).rejects.toThrow(DisposedError)
      x.dispose()
    })

    test('backends live side by side, each with its own threads', async () => {
      backend = await create({ threads })
      const other = await create({ threads })
      const x = backend.tensor([1, 2], [2])
      const y = other.tensor([3, 4], [2])
      keepBusy()
      expect([...(await other.kernels.add(y, y).read())]).toEqual([6, 8])
      await other.dispose()
      expect([...(await backend.kernels.add(x, x).read())]).toEqual([2, 4])
    })
  })

  test('tensor() refuses data that does not fit, and converts what it can', async () => {
    backend = await create({ threads })
    expect(() => backend.tensor([1, 2, 3], [2])).toThrow(ShapeError)
    expect(() => backend.tensor([1], [1, -1])).toThrow(ShapeError)
    expect(() => backend.tensor(new Uint16Array(2), [2])).toThrow(
      "tensor: dtype must be 'f16' or 'bf16' for a Uint16Array of bits, got none",
    )
    expect(() => backend.tensor([1], [1], 'bf16')).toThrow('tensor: data of dtype bf16 must be Uint16Array, got number[]')
    expect(await backend.tensor(Float64Array.of(0.1), []).read()).toEqual(Float32Array.of(0.1))
    expect(await backend.tensor([7], [1], 'i32').read()).toEqual(Int32Array.of(7))
    expect(await backend.tensor(Uint16Array.of(0x3c00), [1], 'f16').read()).toEqual(Uint16Array.of(0x3c00))
  })

  test('a profile counts calls, time, FLOPs and bytes by kernel and shape', async () => {
    backend = await create({ threads })
    const [x, a, b] = [backend.zeros([1000]), backend.zeros([30, 20]), backend.zeros([20, 10])]
    await backend.startProfile()
    for (let i = 0; i < 3; i++) backend.kernels.scale(x, 2, { out: x })
    for (let i = 0; i < 2; i++) backend.kernels.matmul(a, b)
    keepBusy()
    const profile = await backend.stopProfile()
    backend.kernels.scale(x, 2, { out: x })
    expect([...profile.keys()].sort()).toEqual(['fma_peak', 'matmul 30×10×20', 'scale 1000'])
    expect(profile.get('scale 1000')).toMatchObject({ kernel: 'scale', calls: 3, flops: 0, bytes: 3 * 2 * 4000 })
    expect(profile.get('matmul 30×10×20')).toMatchObject({ calls: 2, flops: 2 * 12_000, bytes: 2 * 4 * (600 + 200 + 300) })
    for (const { milliseconds } of profile.values()) expect(milliseconds).toBeGreaterThan(0)
    await backend.startProfile()
    expect((await backend.stopProfile()).size).toBe(0)
  })

  test('the measured peak is that of a processor', async () => {
    backend = await create({ threads })
    const { flopsPerSecond, ...rest } = await measurePeak(backend)
    expect(rest).toEqual({ threads, isa: backend.info.features.isa })
    // Not a question of speed: between a megahertz and a gigahertz too much, it would be a wrong count.
    expect(flopsPerSecond / threads).toBeGreaterThan(1e8)
    expect(flopsPerSecond / threads).toBeLessThan(1e13)
  })
}
