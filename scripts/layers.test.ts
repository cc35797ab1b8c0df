import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { declareSuite } from '../suite.shared'
import { root, workspaces } from './paths.mjs'

declareSuite('layers')

/** Imports that must fail: file, contents, the rule that must name it. */
const plants: [file: string, contents: string, rule: string][] = [
  ['packages/tensor/src/planted.ts', "import '@tilegrad/core-math'", 'layer-of-packages/tensor'],
  [
    'packages/core-math/src/planted.ts',
    "import type * as up from '@tilegrad/autograd'\nexport type Up = typeof up",
    'layer-of-packages/core-math',
  ],
  ['packages/kernels-cpu/src/planted.ts', "import '@tilegrad/autograd'", 'layer-of-packages/kernels-cpu'],
  ['packages/block-sparse/src/planted.ts', "import '@tilegrad/core-math'", 'layer-of-packages/block-sparse'],
  ['packages/kernels-cpu/src/planted-mask.ts', "import '@tilegrad/block-sparse'", 'layer-of-packages/kernels-cpu'],
  ['packages/autograd/src/planted.ts', "import '@tilegrad/kernels-cpu'", 'layer-of-packages/autograd'],
  ['packages/transformer/src/planted.ts', "import '@tilegrad/testing'", 'layer-of-packages/transformer'],
  ['packages/tensor/src/planted.test.ts', "import '@tilegrad/testing'", 'layer-of-tests-of-packages/tensor'],
  ['apps/bench/src/planted.ts', "import '@tilegrad/testing'", 'layer-of-apps/bench'],
  ['packages/newcomer/src/index.ts', "import '@tilegrad/tensor'", 'unknown-package'],
  ['packages/transformer/src/planted-inside.ts', "import '../../tensor/src/shape'", 'front-door-only'],
  ['packages/autograd/src/planted-test-import.ts', "import './planted.test'", 'sources-do-not-import-tests'],
  ['packages/core-math/src/cycle-a.ts', "import { b } from './cycle-b'\nexport const a = () => b", 'no-cycle'],
  ['packages/core-math/src/planted-missing.ts', "import './not-there'", 'resolvable'],
]

/** Files that plants need but that are themselves in order. */
const company: [file: string, contents: string][] = [
  ['packages/tensor/src/shape.ts', 'export {}'],
  ['packages/core-math/src/cycle-b.ts', "import { a } from './cycle-a'\nexport const b = () => a"],
  ['packages/autograd/src/planted.test.ts', "import '@tilegrad/kernels-cpu'\nimport '@tilegrad/testing'"],
  ['packages/kernels-cpu/src/planted.testing.ts', "import '@tilegrad/testing'"],
]

function cruise(folder: string): { rule: string; from: string }[] {
  const depcruise = join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs')
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [depcruise, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'packages', 'apps'],
    { cwd: folder, encoding: 'utf8', maxBuffer: 1 << 28 },
  )
  if (stdout === '') throw new Error(stderr)
  const { violations } = JSON.parse(stdout).summary as { violations: { from: string; rule: { name: string } }[] }
  return violations.map(({ from, rule }) => ({ rule: rule.name, from }))
}

describe('the layer check', () => {
  let copy: string
  let planted: { rule: string; from: string }[]

  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), 'tilegrad-layers-'))
    for (const path of ['.dependency-cruiser.cjs', 'tsconfig.json', 'tsconfig.base.json', 'package.json'])
      cpSync(join(root, path), join(copy, path))
    const stubs = workspaces.flatMap((workspace): [string, string][] => [
      [`${workspace}/package.json`, '{ "type": "module" }'],
      [`${workspace}/src/index.ts`, 'export {}'],
    ])
    for (const [file, contents] of [...stubs, ...company, ...plants]) {
      mkdirSync(dirname(join(copy, file)), { recursive: true })
      writeFileSync(join(copy, file), `${contents}\n`)
    }
    planted = cruise(copy)
  })
  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  it('passes the repository', () => {
    expect(cruise(root)).toEqual([])
  })

  it.each(plants)('fails %s, which says %j, by rule %s', (file, _contents, rule) => {
    expect(planted).toContainEqual({ rule, from: file })
  })

  it('lets tests and their helpers import the backend and the suite', () => {
    for (const [file] of company.filter(([file]) => /[.]test(ing)?[.]/.test(file)))
      expect(planted.map(({ from }) => from)).not.toContain(file)
  })
})
