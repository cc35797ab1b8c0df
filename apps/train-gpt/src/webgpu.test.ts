import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { noAdapter } from '../../../webgpu.shared'
import { readMetrics } from './metrics'
import { runFolder } from './run-folder'
import { learned, run, smallRun, start, weights } from './testing/cli'

declareSuite('train-gpt-webgpu', noAdapter)

// A software adapter compiles its kernels once, which takes a busy machine minutes.
const TIMEOUT = 600_000
const STEPS = 10
let small: Awaited<ReturnType<typeof smallRun>>

beforeAll(async () => {
  small = await smallRun()
})
afterAll(() => small?.remove())

/** Trains a tiny model; returns the folder of the run. */
async function train(name: string, flags: readonly string[], nodeFlags: readonly string[] = []): Promise<{ out: string; stderr: string }> {
  const out = small.path(name)
  const args = [
    ...small.flags,
    '--context',
    '32',
    '--steps',
    String(STEPS),
    '--save-every',
    '4',
    '--val-every',
    '5',
    '--out',
    out,
    ...flags,
  ]
  const ended = await start(['train', ...args], nodeFlags.length > 0 ? ['env', `NODE_OPTIONS=${nodeFlags.join(' ')}`] : []).ended
  expect(ended.code, ended.stderr).toBe(0)
  return { out, stderr: ended.stderr }
}

/** The losses of a run: of every step, and of every validation. */
async function losses(out: string): Promise<number[]> {
  return (await readMetrics(runFolder(out).metrics)).flatMap((record) => (record.type === 'sample' ? [] : [record.loss]))
}

describe.skipIf(noAdapter)('train-gpt --backend webgpu', () => {
  it.each(['flash', 'standard'])(
    'has the loss curve of the CPU, but for rounding, and no leak, with %s attention',
    async (attention) => {
      const [standard, chosen] = [
        ['--attention', 'standard'],
        ['--attention', attention],
      ]
      const { out, stderr } = await train(`webgpu-${attention}`, ['--backend', 'webgpu', ...chosen])
      expect(stderr).toMatch(/^backend: .*WebGPU.*, peak [\d.]+[GT]FLOP\/s$/m)
      const steps = (await readMetrics(runFolder(out).metrics)).filter((record) => record.type === 'step')
      expect(new Set(steps.slice(1).map((record) => record.backendBytes)).size).toBe(1)

      // How far rounding carries a curve: the same arithmetic on one processor with its sums in other orders.
      const variants = [chosen, standard, [], [...standard, '--runtime', 'wasm'], ['--runtime', 'wasm']]
      const curves: number[][] = []
      for (const [i, flags] of variants.entries()) curves.push(await losses((await train(`cpu-${attention}-${i}`, flags)).out))
      const [cpu = []] = curves
      const spread = Math.max(...cpu.map((loss, i) => Math.max(...curves.map((curve) => Math.abs((curve[i] as number) - loss)))))
      const ulp = 2 ** -23 * Math.max(...cpu)
      const webgpu = await losses(out)
      expect(webgpu).toHaveLength(cpu.length)
      expect(Math.max(...cpu.map((loss, i) => Math.abs((webgpu[i] as number) - loss)))).toBeLessThanOrEqual(2 * spread + ulp)
    },
    TIMEOUT,
  )

  it(
    'goes on with another device where its own is destroyed in mid-run, and ends with the same bits',
    async () => {
      const flags = ['--backend', 'webgpu']
      const [straight, lost] = ['straight', 'lost']
      const preload = small.path('lose-device.mjs')
      await writeFile(preload, loseDevice(runFolder(small.path(lost)).metrics, 6))
      const { out: expected } = await train(straight, flags)
      const { out, stderr } = await train(lost, flags, [`--import=${pathToFileURL(preload)}`])
      expect(stderr.match(/^the device was lost; .*$/gm)).toEqual(['the device was lost; going on from checkpoint step-4 on another one'])
      expect(await learned(out)).toEqual(await learned(expected))
      expect(await weights(out)).toEqual(await weights(expected))
    },
    TIMEOUT,
  )
})

it.runIf(process.platform === 'linux')('a machine without an adapter is refused in one line that says what to do', async () => {
  const out = small.path('never')
  const nothing = ['env', 'VK_DRIVER_FILES=/none', 'VK_ICD_FILENAMES=/none']
  const ended = await start(['train', ...small.flags, '--backend', 'webgpu', '--out', out], nothing).ended
  expect(ended.stderr.split('\n').filter((line) => line.startsWith('train-gpt:'))).toEqual([
    expect.stringMatching(/^train-gpt: --backend webgpu: WebGPU found no adapter; install a driver: .*; or use --backend cpu$/),
  ])
  expect(ended.code).toBe(2)
  // The run was not begun.
  expect((await run('train', '--resume', out)).stderr).toMatch(/is not the folder of a run/)
})

/** A module that has the program's first GPUDevice destroyed once the metrics show `step`. */
function loseDevice(metrics: string, step: number): string {
  const webgpu = pathToFileURL(createRequire(import.meta.url).resolve('webgpu'))
  return `
import { readFileSync } from 'node:fs'
import { create } from ${JSON.stringify(webgpu.href)}

const gpu = create(['disable-dawn-features=timestamp_quantization'])
let runs = 0
const requestAdapter = async (options) => {
  const adapter = await gpu.requestAdapter(options)
  const requestDevice = adapter.requestDevice.bind(adapter)
  adapter.requestDevice = async (descriptor) => {
    const device = await requestDevice(descriptor)
    // The first device is that of the check before the run folder is made.
    if (++runs === 2) destroyAfterStep(device)
    return device
  }
  return adapter
}
Object.defineProperty(globalThis, 'navigator', { value: { gpu: { requestAdapter } } })

function destroyAfterStep(device) {
  const timer = setInterval(() => {
    let text = ''
    try {
      text = readFileSync(${JSON.stringify(metrics)}, 'utf8')
    } catch {}
    if (!text.includes('"type":"step","step":${step},')) return
    clearInterval(timer)
    device.destroy()
  }, 1)
  timer.unref()
}
`
}
