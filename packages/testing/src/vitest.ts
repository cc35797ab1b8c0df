import type { Backend } from '@tilegrad/tensor'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { assertDeterminism, type ConformanceOptions, conformanceCases, createOracle, type Oracle } from './cases'

/**
 * Registers the conformance suite for one backend: a backend's own test is this one call.
 *
 * ```ts
 * testBackend('cpu native', () => createCpuBackend({ runtime: 'native' }))
 * ```
 */
export function testBackend(name: string, create: () => Promise<Backend>, options: ConformanceOptions = {}): void {
  describe(name, () => {
    let backend: Backend
    let oracle: Oracle
    beforeAll(async () => {
      backend = await create()
      oracle = createOracle()
    })
    afterAll(async () => {
      await Promise.all([backend, oracle?.exact, oracle?.naive].map((made) => made?.dispose()))
    })
    for (const [group, cases] of byGroup(conformanceCases(options))) {
      describe(group, () => {
        for (const { name, run } of cases) it(name, () => run(backend, oracle))
      })
    }
  })
}

/**
 * Registers a test that every kernel gives bit-identical results on 1, 2, 3 and 4 threads.
 *
 * @param create makes a backend with that many threads
 */
export function testDeterminism(name: string, create: (threads: number) => Promise<Backend>): void {
  describe(name, () => {
    it('gives the same bits on 1, 2, 3 and 4 threads', async () => {
      const backends = await Promise.all([1, 2, 3, 4].map(create))
      try {
        const others = new Map(backends.slice(1).map((backend, i) => [`a run on ${i + 2} threads`, backend] as const))
        await assertDeterminism(backends[0] as Backend, others)
      } finally {
        await Promise.all(backends.map((backend) => backend.dispose()))
      }
    })
  })
}

function byGroup<T extends { readonly group: string }>(cases: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of cases) groups.set(item.group, [...(groups.get(item.group) ?? []), item])
  return groups
}
