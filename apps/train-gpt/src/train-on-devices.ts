import { type Checkpoint, findCheckpoint } from './checkpoint'
import type { Device } from './device'
import { DeviceLostError, describeError, RunError } from './errors'
import type { Run } from './run'
import { type Surroundings, train } from './train'

export interface TrainOnDevicesOptions extends Pick<Surroundings, 'progress' | 'stop'> {
  readonly openDevice: () => Promise<Device>
}

/**
 * Trains on one device, and where that is lost (a driver that was reset, a GPU that was taken away), on another from the last checkpoint. Steps since
 * then are done again, with the same results.
 *
 * @throws RunError if there is no other device, or if one is lost a second time before the next checkpoint
 */
export async function trainOnDevices(run: Run, { openDevice, progress, stop }: TrainOnDevicesOptions): Promise<void> {
  const started = performance.now()
  let device = await openDevice()
  let current = run
  // Of the last loss: how often in a row the run went back to the same checkpoint tells a fault of the run from one of the device.
  let wentBackTo: string | undefined
  for (;;) {
    try {
      return await train(current, { device, progress, stop, started })
    } catch (error) {
      if (!(error instanceof DeviceLostError)) throw error
      const checkpoint = await findCheckpoint(run.folder)
      const name = nameOf(checkpoint)
      if (name === wentBackTo) throw new RunError(`${describeError(error).message}, twice after ${name}${wayOn(run, checkpoint)}`)
      wentBackTo = name
      progress.note(`the device was lost; going on from ${name} on another one`)
      current = { ...run, checkpoint }
    } finally {
      await device.backend.dispose()
    }
    device = await openDevice().catch((error: unknown) => {
      const { message } = describeError(error)
      throw new RunError(`the device was lost, and there is no other: ${message}${wayOn(run, current.checkpoint)}`)
    })
  }
}

function nameOf(checkpoint: Checkpoint | undefined): string {
  return checkpoint ? `checkpoint step-${checkpoint.state.step}` : 'the start'
}

function wayOn({ folder }: Run, checkpoint: Checkpoint | undefined): string {
  return checkpoint ? `; ${nameOf(checkpoint)} is kept: continue with --resume ${folder.path}` : ''
}
