import { TilegradError } from './tilegrad-error'

/** The device or runtime under a backend failed or could not be started; the message says what to do. */
export class DeviceError extends TilegradError {
  override readonly name = 'DeviceError'
}
