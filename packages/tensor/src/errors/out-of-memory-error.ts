import { TilegradError } from './tilegrad-error'

/** The device could not provide the memory that a call needs. */
export class OutOfMemoryError extends TilegradError {
  override readonly name = 'OutOfMemoryError'
  constructor(backend: string, requestedBytes: number, heldBytes: number) {
    super(`${backend}: out of memory: ${requestedBytes} bytes requested with ${heldBytes} bytes held`)
  }
}
