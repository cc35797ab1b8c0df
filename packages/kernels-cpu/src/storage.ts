import type { Storage } from '@tilegrad/tensor'
import type { Allocator, Block } from './allocator'

/** Reference-counted block of the engine's memory. */
export class CpuStorage implements Storage {
  version = 0
  private references = 1

  constructor(
    private readonly allocator: Allocator,
    private readonly block: Block,
  ) {}

  get bytes(): number {
    return this.block.bytes
  }

  get address(): number {
    return this.block.address
  }

  retain(): void {
    this.references++
  }

  release(): void {
    this.references--
    if (this.references === 0) this.allocator.free(this.block)
  }
}
