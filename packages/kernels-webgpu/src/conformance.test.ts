import { conformanceCases, createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, it } from 'vitest'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'

// Groups of the suite to run alone, e.g. TILEGRAD_GROUPS=matmul,rope; and dtypes, e.g. TILEGRAD_DTYPES=f16.
const groups = process.env.TILEGRAD_GROUPS?.split(',')
const dtypes = (process.env.TILEGRAD_DTYPES?.split(',') ?? ['f32', 'f16']) as ('f32' | 'f16')[]
const sizes = process.env.TILEGRAD_SIZES === 'full' ? 'full' : 'small'

let backend: WebGPUBackend
let oracle: Oracle
beforeAll(async () => {
  backend = await createWebGPUBackend()
  oracle = createOracle()
})
afterAll(async () => {
  await Promise.all([backend, oracle?.exact, oracle?.naive].map((made) => made?.dispose()))
})

const cases = conformanceCases({ dtypes, sizes }).filter(({ group }) => !groups || groups.includes(group.split(' ')[0] as string))
for (const group of new Set(cases.map((made) => made.group))) {
  describe(group, () => {
    for (const { name, run } of cases.filter((made) => made.group === group)) it(name, () => run(backend, oracle))
  })
}
