import type { ConformanceCase } from './conformance-case'

/**
 * Cases for a backend that does not have everything yet: in the groups of `lacks` a case may be refused by an UnsupportedError, which says what is
 * missing by name; anything else is a failure as ever. The last case of each such group fails unless one was refused, so that the list cannot go stale.
 */
export function withLacks(cases: readonly ConformanceCase[], lacks: readonly string[]): ConformanceCase[] {
  const groups = new Set(cases.map(({ group }) => kernelGroup(group)))
  const unknown = lacks.find((group) => !groups.has(group))
  if (unknown !== undefined) throw new Error(`lacks must name groups of cases, among ${[...groups].join(', ')}, got '${unknown}'`)
  const refused = new Set<string>()
  const tolerant = cases.map((item) => (lacks.includes(kernelGroup(item.group)) ? tolerate(item, refused) : item))
  const stale = lacks.map((group) => ({
    group,
    name: 'is still refused by name',
    async run() {
      if (!refused.has(group)) throw new Error(`every case of '${group}' passes: take it out of lacks`)
    },
  }))
  return [...tolerant, ...stale]
}

/** A group without the dtype that follows where there are several. */
function kernelGroup(group: string): string {
  return group.replace(/ (f32|f16|bf16)$/, '')
}

function tolerate(item: ConformanceCase, refused: Set<string>): ConformanceCase {
  return {
    ...item,
    async run(backend, oracle) {
      try {
        await item.run(backend, oracle)
      } catch (error) {
        if (!isUnsupported(error) && !isUnsupported((error as Error).cause)) throw error
        refused.add(kernelGroup(item.group))
      }
    },
  }
}

/** By name, as across package versions. */
export function isUnsupported(error: unknown): boolean {
  return (error as Error | undefined)?.name === 'UnsupportedError'
}
