import { TilegradError } from '@tilegrad/tensor'

/** A file of a checkpoint is missing, corrupt or does not fit the model: `model.safetensors: tensor 'wte.weight' must be [64, 32], got [65, 32]`. */
export class CheckpointError extends TilegradError {
  override readonly name = 'CheckpointError'
  constructor(file: string, problem: string) {
    super(`${file}: ${problem}`)
  }
}
