import type { Storage } from '@tilegrad/tensor'
import type { Block, BufferPool } from './buffer-pool'

/** Reference-counted GPU buffer. Without a pool it is a caller's, which outlives its tensors. */
export class WebGPUStorage implements Storage {
  version = 0
  private references = 1

  constructor(
    readonly block: Block,
    private readonly pool?: BufferPool,
  ) {}

  get bytes(): number {
    return this.block.bytes
  }

  retain(): void {
    this.references++
  }

  release(): void {
    this.references--
    if (this.references === 0) this.pool?.release(this.block)
  }
}
