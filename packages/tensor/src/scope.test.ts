import { expect, test } from 'vitest'
import { TilegradError } from './errors/tilegrad-error'
import { TestHost } from './host.testing'

test('frees what is not returned, alone or inside arrays, maps, sets, objects and holders', () => {
  const make = (host: TestHost) => host.zeros([1])
  const results: ((host: TestHost) => unknown)[] = [
    make,
    (host) => [make(host)],
    (host) => ({ deep: { list: [make(host)] } }),
    (host) => new Map([['x', make(host)]]),
    (host) => new Set([make(host)]),
    (host) => {
      const x = make(host)
      return { tilegradTensors: () => [x], hidden: make(host) }
    },
  ]
  for (const result of results) {
    const host = new TestHost()
    host.scope(() => {
      host.zeros([1])
      host.zeros([1]).reshape([1, 1])
      return result(host)
    })
    expect(host.held).toBe(1)
  }
})

test('a returned cycle ends', () => {
  const host = new TestHost()
  const result = host.scope(() => {
    const cycle: { x: unknown; self?: unknown } = { x: host.zeros([1]) }
    cycle.self = cycle
    return cycle
  })
  expect((result.x as { disposed: boolean }).disposed).toBe(false)
})

test('what an inner scope returns belongs to the outer one', () => {
  const host = new TestHost()
  host.scope(() => {
    host.scope(() => host.zeros([1]))
    expect(host.held).toBe(1)
  })
  expect(host.held).toBe(0)
})

test('a view that is returned keeps its storage though its origin is freed', () => {
  const host = new TestHost()
  const view = host.scope(() => host.zeros([4]).reshape([2, 2]))
  expect(host.storages[0]?.references).toBe(1)
  view.dispose()
  expect(host.held).toBe(0)
})

test('tensors from outside are left alone', () => {
  const host = new TestHost()
  const outside = host.zeros([1])
  host.scope(() => ({ outside }))
  expect(outside.disposed).toBe(false)
})

test('keep takes a tensor out of every open scope', () => {
  const host = new TestHost()
  const kept = host.scope(() => host.scope(() => ({ secret: () => host.keep(host.zeros([1])) })).secret())
  expect(kept.disposed).toBe(false)
  host.scope(() => {
    host.scope(() => void host.keep(host.zeros([1])))
  })
  expect(host.held).toBe(2)
})

test('frees everything when fn throws, and refuses a promise', () => {
  const host = new TestHost()
  const fail = () =>
    host.scope(() => {
      host.zeros([1])
      throw new RangeError('mine')
    })
  expect(fail).toThrow(RangeError)
  expect(() => host.scope(async () => host.zeros([1]))).toThrow(TilegradError)
  expect(host.held).toBe(0)
  expect(host.scopes.run(() => 7)).toBe(7)
})
