import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findCheckpoint, rewindTo, saveCheckpoint } from './checkpoint'
import { type RunFolder, runFolder } from './run-folder'

let folder: RunFolder
beforeEach(async () => {
  folder = runFolder(await mkdtemp(join(tmpdir(), 'checkpoint-')))
  await mkdir(folder.checkpoints)
})
afterEach(() => rm(folder.path, { recursive: true }))

const state = (step: number) => ({ step, totalSteps: null, tokens: step * 7, seconds: step / 3, dataSha256: 'abc' })
const save = (step: number) => saveCheckpoint(folder, state(step), (path) => writeFile(join(path, 'weights'), `weights of ${step}`))
const names = async () => (await readdir(folder.checkpoints)).sort()

describe('checkpoints', () => {
  it('come back as saved, the last two of them', async () => {
    expect(await findCheckpoint(folder)).toBeUndefined()
    for (const step of [0, 5, 10]) await save(step)
    expect(await names()).toEqual(['step-10', 'step-5'])
    const found = await findCheckpoint(folder)
    expect(found?.state).toMatchObject(state(10))
    expect(await readFile(join(found?.path as string, 'weights'), 'utf8')).toBe('weights of 10')
    expect((await findCheckpoint(folder, 'step-5'))?.state).toMatchObject(state(5))
  })

  it('leave the one before in place when writing fails', async () => {
    await save(0)
    const full = saveCheckpoint(folder, state(1), () => writeFile('/dev/full', 'x'))
    await expect(full).rejects.toThrow(/^cannot save checkpoint .*step-1: it is on a full disk; free some space$/)
    await expect(saveCheckpoint(folder, state(1), () => Promise.reject(new Error('device lost')))).rejects.toThrow('device lost')
    expect(await names()).toEqual(['step-0'])
    expect((await findCheckpoint(folder))?.state.step).toBe(0)
  })

  it('survive the leftovers of a killed save', async () => {
    await save(0)
    await mkdir(join(folder.checkpoints, 'step-5.tmp'))
    await mkdir(join(folder.checkpoints, 'step-5'))
    const found = await findCheckpoint(folder)
    expect(found?.state.step).toBe(0)
    await rewindTo(folder, found)
    expect(await names()).toEqual(['step-0'])
    await save(5)
    expect((await findCheckpoint(folder))?.state.step).toBe(5)
  })

  it.each([
    ['a changed byte', (path: string) => writeFile(join(path, 'weights'), 'weights of 2'), 'weights has changed since it was saved'],
    ['a truncated file', (path: string) => truncate(join(path, 'weights'), 3), 'weights has changed since it was saved'],
    ['a missing file', (path: string) => rm(join(path, 'weights')), 'weights: it does not exist'],
    ['a damaged state', (path: string) => truncate(join(path, 'trainer.json'), 30), 'trainer.json is damaged'],
    ['another state', (path: string) => writeFile(join(path, 'trainer.json'), '{"format":9}'), 'trainer.json is damaged'],
  ])('are refused with %s, naming the one before', async (_, damage, message) => {
    await save(0)
    await damage(await save(1))
    const error = await findCheckpoint(folder).catch((e: Error) => e)
    expect((error as Error).message).toContain(message)
    expect((error as Error).message).toContain(`use --resume ${join(folder.checkpoints, 'step-0')}`)
    expect((error as Error).message).not.toContain('\n')
  })
})
