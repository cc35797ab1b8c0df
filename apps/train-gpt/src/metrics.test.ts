import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MetricsLog, readMetrics, truncateMetrics } from './metrics'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'metrics-'))
  path = join(folder, 'metrics.jsonl')
})
afterEach(() => rm(folder, { recursive: true }))

const validation = (step: number) => ({ type: 'validation', step, loss: 1 / 3, bitsPerByte: 0.1 }) as const

describe('metrics', () => {
  it('reads back what was appended, over several openings', async () => {
    for (const steps of [[0, 1], [2]]) {
      const log = new MetricsLog(path)
      for (const step of steps) log.append(validation(step))
      log.close()
    }
    expect(await readMetrics(path)).toEqual([validation(0), validation(1), validation(2)])
  })

  it('skips the line that a killed run was writing, and drops what came after the checkpoint', async () => {
    const log = new MetricsLog(path)
    for (const step of [0, 1, 2, 3]) log.append(validation(step))
    log.close()
    await appendFile(path, '{"type":"validation","st')
    expect(await readMetrics(path)).toHaveLength(4)
    expect(await truncateMetrics(path, 1)).toEqual([validation(0), validation(1)])
    expect((await readFile(path, 'utf8')).split('\n')).toEqual([JSON.stringify(validation(0)), JSON.stringify(validation(1)), ''])
  })

  it('names a damaged line', async () => {
    await writeFile(path, `${JSON.stringify(validation(0))}\n{"type"\n${JSON.stringify(validation(1))}\n`)
    await expect(readMetrics(path)).rejects.toThrow(/metrics\.jsonl: line 2 is not JSON/)
  })

  it('is empty where there is no file', async () => {
    expect(await readMetrics(path)).toEqual([])
  })

  it('names a full disk', () => {
    const log = new MetricsLog('/dev/full')
    expect(() => log.append(validation(0))).toThrow('cannot write /dev/full: it is on a full disk; free some space')
    log.close()
  })
})
