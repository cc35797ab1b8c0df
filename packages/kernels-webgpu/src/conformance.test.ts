import { conformanceCases, createOracle, type Oracle } from '@tilegrad/testing'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { noAdapter } from '../../../webgpu.shared'
import type { WebGPUBackend } from './backend'
import { createWebGPUBackend } from './index'
import { LACKS } from './lacks.testing'

declareSuite('webgpu-node', noAdapter)
if (LACKS.length > 0) console.log(`kernels-webgpu refuses by name some of: ${LACKS.join(', ')}`)

// Groups of the suite to run alone, e.g. TILEGRAD_GROUPS=matmul,rope; and dtypes, e.g. TILEGRAD_DTYPES=f16.
const groups = process.env.TILEGRAD_GROUPS?.split(',')
const dtypes = (process.env.TILEGRAD_DTYPES?.split(',') ?? ['f32', 'f16']) as ('f32' | 'f16')[]
const sizes = process.env.TILEGRAD_SIZES === 'full' ? 'full' : 'small'

let backend: WebGPUBackend
let oracle: Oracle
beforeAll(async () => {
  if (noAdapter) return
  backend = await createWebGPUBackend()
  oracle = createOracle()
})
afterAll(async () => {
  await Promise.all([backend, oracle?.exact, oracle?.naive].map((made) => made?.dispose()))
})

const cases = conformanceCases({ dtypes, sizes, lacks: LACKS }).filter(
  ({ group }) => !groups || groups.includes(group.split(' ')[0] as string),
)
for (const group of new Set(cases.map((made) => made.group))) {
  describe.skipIf(noAdapter)(group, () => {
    for (const { name, run } of cases.filter((made) => made.group === group)) it(name, () => run(backend, oracle))
  })
}
