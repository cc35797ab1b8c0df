import { TilegradError } from './tilegrad-error'

/** A backend lacks a kernel for a dtype or option: `webgpu: no kernel 'rope' for bf16`. */
export class UnsupportedError extends TilegradError {
  override readonly name = 'UnsupportedError'
  constructor(backend: string, kernel: string, what: string) {
    super(`${backend}: no kernel '${kernel}' for ${what}`)
  }
}
