import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { type ConformanceCase, conformanceCases, createOracle } from './cases'
import { ATTENTION_MUTATIONS } from './mutations/attention.testing'
import { ATTENTION_OPTION_MUTATIONS } from './mutations/attention-options.testing'
import { ATTENTION_PROBABILITY_MUTATIONS, RETURNS_PROBABILITIES } from './mutations/attention-probabilities.testing'
import { KERNEL_MUTATIONS } from './mutations/kernels.testing'
import { mutant } from './mutations/mutant.testing'

// The suite is worth what it catches: each of these backends is wrong in one way that passes for right at a glance.
const MUTATIONS = { ...ATTENTION_MUTATIONS, ...ATTENTION_OPTION_MUTATIONS, ...ATTENTION_PROBABILITY_MUTATIONS, ...KERNEL_MUTATIONS }

const CASES = conformanceCases({ sizes: 'small' })
const right = createReferenceBackend({ precision: 'f32' })
const oracle = createOracle({ keep: true })

interface Caught {
  readonly item: ConformanceCase
  readonly message: string
}

const caught = new Map<string, Caught | undefined>()

/** The first case that fails on a mutant, with its message. */
async function catchMutant(name: string): Promise<Caught | undefined> {
  if (caught.has(name)) return caught.get(name)
  const { group, mutate } = MUTATIONS[name] as (typeof MUTATIONS)[string]
  const wrong = mutant(right, mutate)
  let failure: Caught | undefined
  for (const item of CASES.filter((candidate) => candidate.group === group)) {
    try {
      await item.run(wrong, oracle)
    } catch (error) {
      failure = { item, message: (error as Error).message }
      break
    }
  }
  caught.set(name, failure)
  return failure
}

describe('catches a backend that is wrong:', () => {
  it.each(Object.entries(MUTATIONS))('%s', async (name, { says = /exceeds|instead of/ }) => {
    const failure = await catchMutant(name)
    expect(failure?.message).toMatch(says)
    // The same case passes without the mutation.
    await failure?.item.run(right, oracle)
  })
})

// The mutants that return probabilities are made of this one.
it('passes a backend that returns probabilities, unlike the reference', async () => {
  const returning = mutant(right, RETURNS_PROBABILITIES)
  for (const { group, run } of CASES) if (/^attention (probabilities|memory)$/.test(group)) await run(returning, oracle)
})

// To write it anew: vitest run src/mutation.test.ts -u
it('docs/conformance.md says which case catches which', async () => {
  const path = fileURLToPath(new URL('../../../docs/conformance.md', import.meta.url))
  const rows = ['| wrong | group | first case that fails | what it says |', '|---|---|---|---|']
  for (const [name, { group }] of Object.entries(MUTATIONS)) {
    const { item, message } = (await catchMutant(name)) as Caught
    rows.push(`| ${name} | ${group} | \`${item.name}\` | ${withoutNumbers(message)} |`)
  }
  const document = await readFile(path, 'utf8')
  const [begin, end] = ['<!-- mutants: written by mutation.test.ts -->\n', '\n<!-- end of mutants -->']
  const [before, after] = [document.indexOf(begin) + begin.length, document.indexOf(end)]
  const expected = `${document.slice(0, before)}${rows.join('\n')}${document.slice(after)}`
  await expect(expected).toMatchFileSnapshot(path)
})

/** What is wrong, without by how much and where, which changes with engines. */
function withoutNumbers(message: string): string {
  const result = /^(\w+): .*(exceeds|instead of)/.exec(message)?.[1]
  return result ? `${result} is off` : (message.split(' by ')[0] as string).replace(/-?\d[\d.e+-]*/g, '…')
}
