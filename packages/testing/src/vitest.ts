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
      oracle = options.sizes === 'small' ? sharedOracle() : createOracle()
    })
    afterAll(() => backend?.dispose())
    for (const [group, cases] of byGroup(conformanceCases(options))) {
      describe(group, () => {
        for (const { name, run } of cases) it(name, () => run(backend, oracle))
      })
    }
  })
}

let shared: Oracle | undefined

/** The small suite often runs on several variants of a backend in one file, for which the oracle is asked once. */
function sharedOracle(): Oracle {
  shared ??= createOracle({ keep: true })
  return shared
}

/**
 * Registers a test that every kernel gives bit-identical results on 1, 2, 3 and 4 threads.
 *
 * @param create makes a backend with that many threads
 */
export function testDeterminism(
  name: string,
  create: (threads: number) => Promise<Backend>,
  { lacks = [] }: Pick<ConformanceOptions, 'lacks'> = {},
): void {
  describe(name, () => {
    it('gives the same bits on 1, 2, 3 and 4 threads', async () => {
      const backends = await Promise.all([1, 2, 3, 4].map(create))
      try {
        const others = new Map(backends.slice(1).map((backend, i) => [`a run on ${i + 2} threads`, backend] as const))
        await assertDeterminism(backends[0] as Backend, others, lacks)
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
