import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { GPT } from '@tilegrad/transformer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { declareSuite } from '../../../suite.shared'
import { findCheckpoint } from './checkpoint'
import { readMetrics, type StepRecord } from './metrics'
import { runFolder } from './run-folder'
import { learned, run, smallRun, start, untilStep, weights } from './testing/cli'

declareSuite('train-gpt')

const STEPS = 20
let small: Awaited<ReturnType<typeof smallRun>>
/** A run of 20 steps without interruption, which others are compared with. */
let straight: string

const train = (name: string, ...flags: string[]) => ['train', ...small.flags, '--steps', String(STEPS), '--out', small.path(name), ...flags]

beforeAll(async () => {
  small = await smallRun()
  straight = small.path('straight')
  const ended = await run(...train('straight', '--sample-every', '10'))
  expect(ended.code, ended.stderr).toBe(0)
})
afterAll(() => small.remove())

describe('a run', () => {
  it('learns, and writes what it learned', async () => {
    const records = await readMetrics(runFolder(straight).metrics)
    const steps = records.filter((r): r is StepRecord => r.type === 'step')
    const validations = records.filter((r) => r.type === 'validation')
    expect(steps.map((r) => r.step)).toEqual(Array.from({ length: STEPS }, (_, i) => i + 1))
    expect(validations.map((r) => r.step)).toEqual([0, 10, 20])
    expect(records.filter((r) => r.type === 'sample').map((r) => r.step)).toEqual([10, 20])
    // 256 byte values, all as likely at the start: ln 256 nats, 8 bits.
    expect(validations[0]!.loss).toBeCloseTo(Math.log(256), 1)
    expect(validations[0]!.bitsPerByte).toBeCloseTo(8, 1)
    expect(validations[2]!.loss).toBeLessThan(validations[1]!.loss)
    expect(steps.at(-1)).toMatchObject({ tokens: STEPS * 64 })
    // A tensor that is not freed would show in the next step.
    expect(new Set(steps.slice(1).map((r) => r.backendBytes)).size).toBe(1)
    for (const step of steps) {
      expect(step.utilisation).toBeGreaterThan(0)
      expect(step.utilisation).toBeLessThan(1)
      expect(step.attentionShare).toBeGreaterThan(0)
      expect(step.attentionShare).toBeLessThan(1)
      expect(step.residentBytes).toBeGreaterThan(step.backendBytes)
    }
  })

  it('has a folder with options, checkpoints, a curve and a report that needs no network', async () => {
    expect((await readdir(straight)).sort()).toEqual(['checkpoints', 'latest', 'loss.svg', 'metrics.jsonl', 'report.html', 'run.json'])
    expect((await readdir(join(straight, 'checkpoints'))).sort()).toEqual(['step-10', 'step-20'])
    expect((await readdir(join(straight, 'checkpoints/step-20'))).sort()).toEqual([
      'config.json',
      'model.safetensors',
      'optimizer.safetensors',
      'tokenizer.json',
      'tokenizer_config.json',
      'trainer.json',
    ])
    const report = await readFile(join(straight, 'report.html'), 'utf8')
    expect(report.match(/<svg/g)).toHaveLength(4)
    expect(report).toContain('After step 20')
    expect(report).not.toMatch(/<script|<link|@import|(?:src|href)="(?!#)/)
    expect(report.replaceAll(/xmlns(:\w+)?="[^"]*"/g, '')).not.toMatch(/https?:/)
    expect(await readFile(join(straight, 'loss.svg'), 'utf8')).toMatch(/^<svg.*unigram entropy/s)
  })

  it('leaves a model that the library loads', async () => {
    const backend = await createCpuBackend({ threads: 1 })
    const checkpoint = await findCheckpoint(runFolder(straight))
    const model = await GPT.fromPretrained(checkpoint?.path as string, { backend })
    expect(model.config).toMatchObject({ architecture: 'llama', dModel: 16, contextLength: 64, vocabSize: 256 })
    await backend.dispose()
  })

  it('is repeated by its own run.json, whatever the number of threads', async () => {
    const out = small.path('repeated')
    const ended = await run('train', '--config', join(straight, 'run.json'), '--out', out, '--threads', '1')
    expect(ended.code, ended.stderr).toBe(0)
    expect(await learned(out)).toEqual(await learned(straight))
    expect(await weights(out)).toEqual(await weights(straight))
  })

  it('takes accumulated passes as one batch', async () => {
    const [batch, passes] = await Promise.all([
      run(...train('batch', '--batch', '2', '--steps', '3', '--warmup', '0')),
      run(...train('passes', '--accumulate', '2', '--steps', '3', '--warmup', '0')),
    ])
    expect([batch.code, passes.code]).toEqual([0, 0])
    const [a, b] = await Promise.all(
      ['batch', 'passes'].map(async (name) => (await readMetrics(runFolder(small.path(name)).metrics)).filter((r) => r.type === 'step')),
    )
    // Before the first update only the order of sums differs; afterwards AdamW's first step amplifies it.
    expect(b![0]!.loss).toBeCloseTo(a![0]!.loss, 5)
    expect(b![0]!.gradNorm).toBeCloseTo(a![0]!.gradNorm, 4)
    expect(b![2]!.tokens).toBe(a![2]!.tokens)
  })

  it.each([
    ['gpt2 with characters', ['--arch', 'gpt2', '--tokenizer', 'char']],
    ['grouped heads and a window', ['--kv-heads', '1', '--pattern', 'window:size=16']],
    ['block-sparse layers in turn', ['--pattern', 'local-global:window=16,global-tokens=4,block-size=64/dense', '--layers', '2']],
    ['ALiBi, sinks and dropout', ['--positions', 'alibi', '--sink', '--attention-dropout', '0.1']],
    ['separate documents', ['--documents', 'separate', '--batch', '2']],
    ['standard attention', ['--attention', 'standard']],
    ['activation checkpointing', ['--checkpoint-activations']],
    ['WebAssembly', ['--runtime', 'wasm']],
  ])('trains with %s', async (name, flags) => {
    const out = name.replaceAll(' ', '-')
    const ended = await run(...train(out, ...flags))
    expect(ended.code, ended.stderr).toBe(0)
    const [first, ...rest] = (await readMetrics(runFolder(small.path(out)).metrics)).filter((r) => r.type === 'validation')
    expect(rest.at(-1)!.loss).toBeLessThan(first!.loss - 0.1)
  })

  it('plans its steps where only the time is given', async () => {
    const out = small.path('planned')
    const ended = await run('train', ...small.flags, '--out', out, '--minutes', '0.1', '--warmup', '3')
    expect(ended.code, ended.stderr).toBe(0)
    const planned = Number(/planned (\d+) steps/.exec(ended.stderr)?.[1])
    const state = (await findCheckpoint(runFolder(out)))?.state
    expect(state?.totalSteps).toBe(planned)
    expect(state?.step).toBeGreaterThan(0)
    expect(state?.step).toBeLessThanOrEqual(planned)
  })
})

describe('an interrupted run', () => {
  it('stops cleanly on the first signal and continues bit by bit as if it had not stopped', async () => {
    const out = small.path('stopped')
    const first = start(train('stopped', '--sample-every', '10'))
    await untilStep(out, 3)
    first.child.kill('SIGINT')
    const stopped = await first.ended
    expect(stopped.code, stopped.stderr).toBe(0)
    const checkpoint = await findCheckpoint(runFolder(out))
    expect(stopped.stderr).toContain(`stopped after step ${checkpoint?.state.step} of 20; continue with --resume ${out}`)
    expect(checkpoint?.state.step).toBeGreaterThanOrEqual(3)
    const resumed = await run('train', '--resume', out)
    expect(resumed.code, resumed.stderr).toBe(0)
    expect(resumed.stderr).toContain(`resumed after step ${checkpoint?.state.step}`)
    expect(await learned(out)).toEqual(await learned(straight))
    expect(await weights(out)).toEqual(await weights(straight))
  })

  it('continues the same from an older checkpoint', async () => {
    const resumed = await run('train', '--resume', join(small.path('stopped'), 'checkpoints/step-10'))
    expect(resumed.code, resumed.stderr).toBe(0)
    expect(await learned(small.path('stopped'))).toEqual(await learned(straight))
    expect(await weights(small.path('stopped'))).toEqual(await weights(straight))
  })

  it('quits at once on the second signal', async () => {
    const out = small.path('twice')
    const slow = start(['train', '--context', '8192', '--steps', '9', '--val-batches', '1', '--threads', '1', '--out', out])
    await untilStep(out, 1)
    slow.child.kill('SIGTERM')
    while (!(await Promise.race([slow.ended.then(() => true), new Promise((r) => setTimeout(() => r(false), 20))])))
      slow.child.kill('SIGINT')
    expect((await slow.ended).code).toBe(130)
    expect((await findCheckpoint(runFolder(out)))?.state.step).toBe(0)
  })

  it('survives kill -9 at any moment', async () => {
    const out = small.path('killed')
    const folder = runFolder(out)
    const saved = async () => (await findCheckpoint(folder).catch(() => undefined))?.state.step ?? -1
    let args = train('killed', '--sample-every', '10', '--save-every', '1')
    for (let kill = 0; kill < 8 && (await saved()) < STEPS; kill++) {
      const before = await saved()
      const running = start(args)
      // At least one more checkpoint each time, then any moment of the next steps and saves.
      const progress = async () => {
        while ((await saved()) <= before) await new Promise((r) => setTimeout(r, 5))
      }
      await Promise.race([progress(), running.ended])
      await new Promise((r) => setTimeout(r, Math.random() * 40))
      running.child.kill('SIGKILL')
      await running.ended
      // Not `saved`, which forgives: whatever the moment, what is there must be whole.
      expect((await findCheckpoint(folder))?.state.step).toBeGreaterThan(before)
      args = ['train', '--resume', out]
    }
    if ((await saved()) < STEPS) {
      const finished = await run(...args)
      expect(finished.code, finished.stderr).toBe(0)
    }
    expect(await learned(out)).toEqual(await learned(straight))
    expect(await weights(out)).toEqual(await weights(straight))
  })
})

describe('sample', () => {
  it('continues a prompt, the same way for the same seed', async () => {
    const sample = (...flags: string[]) => run('sample', straight, '--tokens', '50', '--prompt', 'interface ', ...flags)
    const [a, b, other, greedy] = await Promise.all([sample(), sample(), sample('--seed', '2'), sample('--temperature', '0')])
    expect(a.code, a.stderr).toBe(0)
    expect(a.stdout).toMatch(/^interface /)
    expect(a.stdout).toBe(b.stdout)
    expect(other.stdout).not.toBe(a.stdout)
    expect((await sample('--top-k', '1')).stdout).toBe(greedy.stdout)
  })
})
