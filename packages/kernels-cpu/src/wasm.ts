import { DeviceError } from '@tilegrad/tensor'
import type { Engine, EngineOptions } from './engine'

export async function createWasmEngine(_options: EngineOptions): Promise<Engine> {
  throw new DeviceError('not yet')
}
