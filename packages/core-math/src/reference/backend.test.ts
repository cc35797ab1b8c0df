import { ArgumentError, BackendMismatchError, DisposedError, DTypeError, ShapeError } from '@tilegrad/tensor'
import { describe, expect, it } from 'vitest'
import { createReferenceBackend } from './backend'

const range = (n: number) => Float32Array.from({ length: n }, (_, i) => i)

describe('createReferenceBackend', () => {
  it('says what it is', () => {
    expect(createReferenceBackend({ precision: 'f32' }).info).toMatchObject({ name: 'reference', features: { precision: 'f32' } })
    expect(() => createReferenceBackend({ precision: 'f16' as 'f32' })).toThrow(ArgumentError)
  })

  it('keeps what float64 data holds and f32 does not, in f64 alone', async () => {
    const third = [1 / 3]
    expect(await createReferenceBackend().tensor(third, [1]).read()).toEqual(Float64Array.from(third))
    expect(await createReferenceBackend({ precision: 'f32' }).tensor(third, [1]).read()).toEqual(Float32Array.from(third))
  })

  it('copies the data in and out', async () => {
    const backend = createReferenceBackend({ precision: 'f32' })
    const data = range(3)
    const x = backend.tensor(data, [3])
    data[0] = 9
    const read = await x.read()
    read[1] = 9
    expect(await x.read()).toEqual(range(3))
  })

  it('refuses data that does not fit', () => {
    const backend = createReferenceBackend()
    expect(() => backend.tensor([1, 2], [3])).toThrow(ShapeError)
    expect(() => backend.tensor([1], [-1])).toThrow(ShapeError)
    expect(() => backend.zeros([1.5])).toThrow(ShapeError)
    expect(() => backend.tensor(Int32Array.of(1), [1], 'f32')).toThrow(DTypeError)
    expect(() => backend.tensor(Uint16Array.of(1), [1])).toThrow(DTypeError)
    expect(() => backend.tensor([1], [1], 'f16')).toThrow(DTypeError)
    expect(() => backend.tensor([1], [1], 'f8' as 'f16')).toThrow(DTypeError)
  })

  it('reads strided views in row-major order', async () => {
    const backend = createReferenceBackend({ precision: 'f32' })
    const x = backend.tensor(range(24), [2, 3, 4])
    expect([...(await x.permute([2, 0, 1]).read())]).toEqual([
      0, 4, 8, 12, 16, 20, 1, 5, 9, 13, 17, 21, 2, 6, 10, 14, 18, 22, 3, 7, 11, 15, 19, 23,
    ])
    expect([...(await x.slice([1, 1, 1], [2, 3, 3]).read())]).toEqual([17, 18, 21, 22])
    expect([...(await x.slice([0, 1], [2, 1]).read())]).toEqual([])
    expect([...(await x.slice([1, 2, 3], [2, 3, 4]).reshape([]).read())]).toEqual([23])
  })

  it('computes on strided views as on their copies, and writes into them', async () => {
    const backend = createReferenceBackend({ precision: 'f32' })
    const { kernels: k } = backend
    const packed = backend.tensor(range(1 * 4 * 3 * 2 * 2).map(Math.sin), [1, 4, 3, 2, 2])
    const part = (i: number) => packed.slice([0, 0, i], [1, 4, i + 1]).reshape([1, 4, 2, 2])
    const views = k.attentionForward(part(0), part(1), part(2), { causal: true })
    const copies = k.attentionForward(k.copy(part(0)), k.copy(part(1)), k.copy(part(2)), { causal: true })
    expect(await views.out.read()).toEqual(await copies.out.read())
    const cache = backend.zeros([2, 4])
    k.copy(backend.tensor([1, 2], [2, 1]), { out: cache.slice([0, 2], [2, 3]) })
    expect([...(await cache.read())]).toEqual([0, 0, 1, 0, 0, 0, 2, 0])
  })

  it('lets an output be an input', async () => {
    const backend = createReferenceBackend({ precision: 'f32' })
    const x = backend.tensor([1, 2, 3, 4], [2, 2])
    expect(backend.kernels.add(x, x, { out: x })).toBe(x)
    expect([...(await x.read())]).toEqual([2, 4, 6, 8])
    backend.kernels.matmul(x, x, { accumulateInto: x })
    expect([...(await x.read())]).toEqual([2 + 28, 4 + 40, 6 + 60, 8 + 88])
  })

  it('counts in-place writes in the version that all views share', () => {
    const backend = createReferenceBackend()
    const x = backend.zeros([2, 2])
    const view = x.slice([1], [2])
    backend.kernels.add(x, x)
    expect(view.version).toBe(0)
    backend.kernels.scale(x, 2, { out: x })
    expect(view.version).toBe(1)
    backend.kernels.sumRows(x, { accumulateInto: view.reshape([2]) })
    expect(x.version).toBe(2)
  })

  it('poisons empty tensors', async () => {
    const backend = createReferenceBackend()
    expect(await backend.empty([2]).read()).toEqual(Float64Array.of(Number.NaN, Number.NaN))
    expect(await backend.empty([1], 'f16').read()).toEqual(Uint16Array.of(0x7e00))
    expect(await backend.empty([1], 'bf16').read()).toEqual(Uint16Array.of(0x7fc0))
    expect(await backend.empty([1], 'i32').read()).toEqual(Int32Array.of(-0x80000000))
  })

  it('accounts for the bytes it holds, and frees them with the last handle', () => {
    for (const [precision, bytes] of [
      ['f64', 8],
      ['f32', 4],
    ] as const) {
      const backend = createReferenceBackend({ precision })
      const x = backend.zeros([10])
      const ids = backend.zeros([3], 'i32')
      const half = backend.zeros([3], 'f16')
      const held = 10 * bytes + 12 + 6
      expect(backend.memory()).toEqual({ bytes: held, peakBytes: held })
      const view = x.reshape([2, 5])
      x.dispose()
      x.dispose()
      expect(backend.memory().bytes).toBe(held)
      for (const tensor of [view, ids, half]) tensor.dispose()
      expect(backend.memory()).toEqual({ bytes: 0, peakBytes: held })
      backend.resetPeakMemory()
      expect(backend.memory().peakBytes).toBe(0)
    }
  })

  it('frees in a scope what it does not return', () => {
    const backend = createReferenceBackend({ precision: 'f32' })
    const { out } = backend.scope(() => {
      const x = backend.zeros([1, 4, 1, 2])
      return { out: backend.kernels.attentionForward(x, x, x).out }
    })
    expect(backend.memory().bytes).toBe(4 * 2 * 4)
    let kept = out
    backend.scope(() => {
      kept = backend.keep(backend.zeros([1]))
    })
    expect(kept.disposed).toBe(false)
    out.dispose()
    kept.dispose()
    expect(backend.memory().bytes).toBe(0)
  })

  it('leaves nothing behind when a kernel refuses its arguments', () => {
    const backend = createReferenceBackend()
    const x = backend.zeros([2, 3])
    const before = backend.memory().bytes
    expect(() => backend.kernels.matmul(x, x)).toThrow(ShapeError)
    expect(() => backend.kernels.add(x, createReferenceBackend().zeros([2, 3]))).toThrow(BackendMismatchError)
    expect(backend.memory().bytes).toBe(before)
  })

  it('ends with dispose', async () => {
    const backend = createReferenceBackend()
    const x = backend.zeros([2])
    await backend.sync()
    await backend.dispose()
    await backend.dispose()
    expect(backend.memory().bytes).toBe(0)
    await expect(x.read()).rejects.toThrow(DisposedError)
    await expect(backend.sync()).rejects.toThrow(DisposedError)
    expect(() => backend.zeros([1])).toThrow(DisposedError)
    expect(() => backend.kernels.add(x, x)).toThrow(DisposedError)
    x.dispose()
    expect(backend.memory().bytes).toBe(0)
  })
})
