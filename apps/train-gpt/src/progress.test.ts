import { Writable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import type { StepRecord } from './metrics'
import { createProgress } from './progress'

const record = (step: number): StepRecord => ({
  type: 'step',
  step,
  loss: 1.2345,
  lr: 1e-3,
  gradNorm: 1,
  tokens: 100,
  seconds: 0.1,
  tokensPerSecond: 12_345,
  utilisation: 0.31,
  attentionShare: 0.22,
  backendBytes: 1,
  residentBytes: 310 * 2 ** 20,
})
const shown = 'loss 1.234 · ETA 1:05 · 12.3K tok/s · 31 % of peak · attention 22 % · 310 MiB'

function recorder(terminal: boolean) {
  let text = ''
  const stream = new Writable({
    write(chunk, _, done) {
      text += chunk
      done()
    },
  })
  const tty = {
    isTTY: true,
    columns: 120,
    cursorTo: () => true,
    moveCursor: () => true,
    clearLine: () => true,
    clearScreenDown: () => true,
  }
  return { stream: Object.assign(stream, terminal ? tty : {}), text: () => text }
}

describe('progress', () => {
  it('is a line for the first and the last step where there is no terminal', () => {
    const { stream, text } = recorder(false)
    const progress = createProgress(stream)
    progress.note('a run')
    for (const step of [1, 2, 3, 4]) progress.step(record(step), { totalSteps: 4, etaSeconds: 65 })
    progress.stop()
    expect(text()).toBe(`a run\nstep 1/4 ${shown}\nstep 4/4 ${shown}\n`)
  })

  it('is a bar on a terminal, with notes above it', () => {
    const { stream, text } = recorder(true)
    const progress = createProgress(stream)
    progress.note('a run')
    progress.step(record(1), { totalSteps: 4, etaSeconds: 65 })
    progress.note('step 1: validation')
    progress.step(record(2), { totalSteps: 4, etaSeconds: 65 })
    progress.stop()
    const ended = text()
    progress.stop()
    progress.note('done')
    expect(text()).toBe(`${ended}done\n`)
    expect(text().startsWith('a run\n')).toBe(true)
    expect(text()).toContain('step 1: validation\n')
    expect(text()).toMatch(/█+░+ 2\/4/)
    expect(text()).toContain(shown)
  })
})
