// @ts-check
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './paths.mjs'

/**
 * The suites that make up `npm test`. Each one writes `<workspace>/reports/suites/<name>.json` from its own test
 * file, through `declareSuite` of suite.shared.ts; a suite without a record did not run.
 */
export const suites = [
  { name: 'cpu-native', title: 'CPU native', workspace: 'packages/kernels-cpu' },
  { name: 'cpu-wasm', title: 'CPU WASM in Node', workspace: 'packages/kernels-cpu' },
  { name: 'cpu-wasm-chromium', title: 'CPU WASM in Chromium', workspace: 'packages/kernels-cpu' },
  { name: 'parity', title: 'parity with PyTorch', workspace: 'packages/transformer' },
  { name: 'train-gpt', title: 'train-gpt', workspace: 'apps/train-gpt' },
  { name: 'webgpu-node', title: 'WebGPU in Node', workspace: 'packages/kernels-webgpu' },
  { name: 'webgpu-chromium', title: 'WebGPU in Chromium', workspace: 'packages/kernels-webgpu' },
  { name: 'train-gpt-webgpu', title: 'train-gpt on WebGPU', workspace: 'apps/train-gpt' },
  { name: 'layers', title: 'layers and cycles', workspace: '.' },
  { name: 'webgpu-example', title: 'WebGPU example, packed, in Chromium', workspace: '.' },
  { name: 'pack', title: 'packed packages and README examples', workspace: '.' },
]

/**
 * What each suite's record says.
 * @returns {{ title: string, ran: boolean, reason: string }[]}
 */
export function readSuites() {
  return suites.map(({ name, title, workspace }) => {
    const file = join(root, workspace, 'reports', 'suites', `${name}.json`)
    if (!existsSync(file)) return { title, ran: false, reason: 'left no record: its tests did not start, or did not get to the end' }
    const record = JSON.parse(readFileSync(file, 'utf8'))
    return { title, ran: record.ran === true, reason: record.reason ?? '' }
  })
}
