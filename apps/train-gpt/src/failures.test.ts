import { spawnSync } from 'node:child_process'
import { appendFile, cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findCheckpoint } from './checkpoint'
import { readMetrics } from './metrics'
import { runFolder } from './run-folder'
import { type Ended, learned, run, smallRun, start, weights } from './testing/cli'

let small: Awaited<ReturnType<typeof smallRun>>
/** A run that ended well after 20 steps, with checkpoints of 10 and 20. */
let good: string

beforeAll(async () => {
  small = await smallRun()
  good = small.path('good')
  expect(await run('train', ...small.flags, '--steps', '20', '--out', good)).toMatchObject({ code: 0 })
})
afterAll(() => small.remove())

/** The command ended with `code` and its last line of output, the only one about an error, matches. */
function failed(ended: Ended, code: number, message: RegExp): void {
  const lines = ended.stderr.trimEnd().split('\n')
  expect(lines.at(-1)).toMatch(message)
  expect(
    lines.filter((line) => line.startsWith('train-gpt:')),
    ended.stderr,
  ).toHaveLength(1)
  expect(ended.code).toBe(code)
}

async function copyOf(name: string): Promise<string> {
  await cp(good, small.path(name), { recursive: true })
  return small.path(name)
}

/** Every file below a folder, with its content. */
async function contents(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(await Promise.all(files.sort().map(async (file) => [file, await readFile(file, 'base64')])))
}

describe('a loss that is no number', () => {
  const flags = () => [...small.flags, '--steps', '20', '--warmup', '0', '--lr', '1e30', '--out']

  it('stops the run, says where, and keeps the last checkpoint', async () => {
    const out = small.path('diverged')
    const ended = await run('train', ...flags(), out)
    failed(ended, 1, /^train-gpt: (loss is \w+|the gradient is not finite) at step \d+ \(learning rate [\d.]+e\+\d+\); give a lower --lr/)
    expect(ended.stderr).toContain(`checkpoint step-0 is kept: continue with --resume ${out}\n`)
    const step = Number(/ at step (\d+) /.exec(ended.stderr)?.[1])
    expect((await readMetrics(runFolder(out).metrics)).filter((r) => r.type === 'step')).toHaveLength(step - 1)
    const resumed = await run('train', '--resume', out, '--lr', '1e-3')
    expect(resumed.code, resumed.stderr).toBe(0)
  })

  it('does not pass for good the checkpoint that it came from', async () => {
    const out = small.path('diverged-saved')
    const ended = await run('train', ...flags(), out, '--save-every', '1')
    const step = Number(/ at step (\d+) /.exec(ended.stderr)?.[1])
    failed(
      ended,
      1,
      new RegExp(`checkpoint step-${step - 2} is kept: continue with --resume ${join(out, `checkpoints/step-${step - 2}`)}$`),
    )
    expect((await findCheckpoint(runFolder(out), `step-${step - 2}`))?.state.step).toBe(step - 2)
  })
})

describe('a resumed run', () => {
  it.each([
    ['truncated weights', 'model.safetensors', (file: string) => readFile(file).then((b) => writeFile(file, b.subarray(0, 900)))],
    ['a flipped bit in the moments', 'optimizer.safetensors', flipBit],
    ['another config.json', 'config.json', (file: string) => appendFile(file, ' ')],
  ])('refuses %s, names the checkpoint before, and touches nothing', async (name, file, damage) => {
    const out = await copyOf(name.replaceAll(' ', '-'))
    await damage(join(out, 'checkpoints/step-20', file))
    const before = await contents(out)
    failed(
      await run('train', '--resume', out, '--steps', '30'),
      1,
      new RegExp(`step-20 cannot be used: ${file} has changed.*use --resume .*step-10$`),
    )
    failed(await run('sample', out), 1, /step-20 cannot be used/)
    expect(await contents(out)).toEqual(before)
    expect(await run('train', '--resume', join(out, 'checkpoints/step-10'))).toMatchObject({ code: 0 })
    expect(await weights(out)).toEqual(await weights(good))
  })

  it('refuses a checkpoint of another model', async () => {
    const out = await copyOf('mismatch')
    const options = JSON.parse(await readFile(join(out, 'run.json'), 'utf8')) as object
    await writeFile(join(out, 'run.json'), JSON.stringify({ ...options, width: 32 }))
    failed(
      await run('train', '--resume', out, '--steps', '30'),
      1,
      /step-20 is of another model: dModel is 16, the run's options ask for 32/,
    )
  })

  it('refuses data that has changed', async () => {
    const out = await copyOf('other-data')
    const data = small.path('data.txt')
    await cp(small.data, data)
    const options = JSON.parse(await readFile(join(out, 'run.json'), 'utf8')) as object
    await writeFile(join(out, 'run.json'), JSON.stringify({ ...options, data: [data] }))
    await appendFile(data, 'one more line')
    failed(
      await run('train', '--resume', out, '--steps', '30'),
      1,
      /the data is not what .* was trained on; restore the files, or start a new run/,
    )
  })

  it('refuses what cannot change, and to do nothing', async () => {
    failed(await run('train', '--resume', good, '--width', '32'), 2, /--width cannot change in a resumed run/)
    failed(await run('train', '--resume', good), 2, /has done its 20 steps; give --steps with more/)
  })

  it('goes on past its end where --steps says so', async () => {
    const out = await copyOf('longer')
    expect(await run('train', '--resume', out, '--steps', '25')).toMatchObject({ code: 0 })
    expect((await learned(out)).slice(0, 22)).toEqual((await learned(good)).slice(0, 22))
    expect((await findCheckpoint(runFolder(out)))?.state.step).toBe(25)
  })
})

it('standard attention over too long a context is out of memory by name', async () => {
  const shape = ['--context', '131072', '--width', '16', '--heads', '8', '--layers', '1', '--val-batches', '1', '--steps', '1']
  const ended = await run('train', '--attention', 'standard', ...shape, '--out', small.path('standard'))
  failed(ended, 1, /out of memory: \d+ bytes requested.*use a shorter --context.*--attention flash/)
})

// A disk of its own, in a namespace that ends with the process.
const canMount = process.platform === 'linux' && spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']).status === 0

describe.runIf(canMount)('a disk', () => {
  const onDisk = (options: string, script: string) => [
    'unshare',
    '-rm',
    'sh',
    '-c',
    `mount -t tmpfs ${options} tmpfs /mnt && ${script}`,
    'sh',
  ]

  it('that is full stops the run and keeps what was saved', async () => {
    const out = small.path('full')
    const args = ['train', ...small.flags, '--steps', '20', '--save-every', '5', '--out', '/mnt/run']
    // Room for the first checkpoint and the next, but not for the third beside them.
    const ended = await start(args, onDisk('-o size=330k', `"$@"; code=$?; cp -r /mnt/run ${out}; exit $code`)).ended
    failed(ended, 1, /it is on a full disk; free some space; checkpoint step-\d+ is kept: continue with --resume \/mnt\/run$/)
    const checkpoint = await findCheckpoint(runFolder(out))
    expect(ended.stderr).toContain(`checkpoint step-${checkpoint?.state.step} is kept`)
    expect(await run('train', '--resume', out, '--save-every', '10')).toMatchObject({ code: 0 })
    expect(await learned(out)).toEqual(await learned(good))
    expect(await weights(out)).toEqual(await weights(good))
  })

  it('that is read-only is refused', async () => {
    const ended = await start(['train', ...small.flags, '--out', '/mnt/run'], onDisk('-o ro', '"$@"')).ended
    failed(ended, 2, /--out: cannot write into \/mnt\/run: it is on a read-only disk/)
  })
})

async function flipBit(file: string): Promise<void> {
  const bytes = await readFile(file)
  bytes[bytes.length - 3]! ^= 4
  await writeFile(file, bytes)
}
