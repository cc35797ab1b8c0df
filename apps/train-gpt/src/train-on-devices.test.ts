import { DeviceError } from '@tilegrad/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startRun } from './commands'
import { type Device, openDevice } from './device'
import { UsageError } from './errors'
import { completeTrainOptions, type TrainOptions } from './options'
import { learned, run, smallRun, weights } from './testing/cli'
import { trainOnDevices } from './train-on-devices'

const STEPS = 20
let small: Awaited<ReturnType<typeof smallRun>>
/** A run that loses no device. */
let straight: string

beforeAll(async () => {
  small = await smallRun()
  straight = small.path('straight')
  const ended = await run('train', ...small.flags, '--steps', String(STEPS), '--out', straight)
  expect(ended.code, ended.stderr).toBe(0)
})
afterAll(() => small.remove())

/** As small.flags. */
const options = (out: string): TrainOptions =>
  completeTrainOptions({
    ...{ data: [small.data], context: 64, width: 16, heads: 2, layers: 1, threads: 2 },
    ...{ valEvery: 10, valBatches: 2, sampleEvery: 1000, saveEvery: 10, steps: STEPS, out },
  })

/** A device that is lost when its n-th step begins, with all its tensors. */
async function losing(options: TrainOptions, n: number): Promise<Device> {
  const device = await openDevice(options)
  let steps = 0
  let lost = false
  return Object.assign(Object.create(device) as Device, {
    async startProfile() {
      if (++steps < n) return device.startProfile()
      lost = true
      await device.backend.dispose()
      throw new DeviceError('the device was lost')
    },
    isLost: async () => lost,
  })
}

/** Trains on devices that are lost at these steps of theirs, then on one that is not, or on none. */
async function trainLosing(name: string, losses: readonly (number | 'none')[]) {
  const out = small.path(name)
  const chosen = options(out)
  const notes: string[] = []
  const left = [...losses]
  let opened = 0
  const running = trainOnDevices(await startRun(chosen), {
    openDevice: async () => {
      const loss = left.shift()
      if (loss === 'none') throw new UsageError('no adapter')
      opened++
      return loss === undefined ? openDevice(chosen) : losing(chosen, loss)
    },
    progress: { step() {}, note: (text) => notes.push(text), stop() {} },
    stop: new AbortController().signal,
  })
  const error = await running.then(
    () => undefined,
    (error: Error) => error,
  )
  return { out, error, opened, went: notes.filter((note) => note.startsWith('the device was lost')) }
}

describe('a lost device', () => {
  it('is replaced, and the run ends with the same bits as if it had not been lost', async () => {
    const { out, error, opened, went } = await trainLosing('lost', [3, 13])
    expect(error).toBeUndefined()
    expect(opened).toBe(3)
    expect(went).toEqual([0, 10].map((step) => `the device was lost; going on from checkpoint step-${step} on another one`))
    expect(await learned(out)).toEqual(await learned(straight))
    expect(await weights(out)).toEqual(await weights(straight))
  })

  it('ends the run when it is lost twice in the same place, and the run can be continued', async () => {
    const { out, error, opened } = await trainLosing('twice', [13, 5, 5])
    expect(error?.message).toBe(
      `the device was lost, twice after checkpoint step-10; checkpoint step-10 is kept: continue with --resume ${out}`,
    )
    expect(error?.name).toBe('RunError')
    expect(opened).toBe(2)
    const resumed = await run('train', '--resume', out)
    expect(resumed.code, resumed.stderr).toBe(0)
    expect(await weights(out)).toEqual(await weights(straight))
  })

  it('ends the run when there is no other', async () => {
    const { out, error } = await trainLosing('last', [13, 'none'])
    expect(error?.message).toBe(
      `the device was lost, and there is no other: no adapter; checkpoint step-10 is kept: continue with --resume ${out}`,
    )
  })
})

it('an error of a device that is still there is no loss', async () => {
  const chosen = options(small.path('error'))
  const device = Object.assign(Object.create(await openDevice(chosen)) as Device, {
    startProfile: () => Promise.reject(new DeviceError('an invalid call')),
  })
  const around = { progress: { step() {}, note() {}, stop() {} }, stop: new AbortController().signal }
  await expect(trainOnDevices(await startRun(chosen), { ...around, openDevice: async () => device })).rejects.toThrow(
    /^an invalid call; checkpoint step-0 is kept/,
  )
})
