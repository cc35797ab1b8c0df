import type { Block, MemorySource, QueueProgress } from './allocator'
import type { WasmMemory } from './wasm-module'

const PAGE = 65536
/** Grown in steps of at least this, for every growth makes new views. */
const GROWTH = 16 * 2 ** 20

/** Linear memory above `start`: best fit among free ranges, which merge with their neighbours; grows on demand. */
export class WasmHeap implements MemorySource {
  /** Free ranges, by address. */
  private readonly ranges: Block[] = []

  /** @param grown Called after the memory has grown, when old views may have become useless. */
  constructor(
    start: number,
    private readonly memory: WasmMemory,
    private readonly queue: QueueProgress,
    private readonly grown: () => void,
  ) {
    const end = memory.buffer.byteLength
    if (end > start) this.ranges.push({ address: start, bytes: end - start, lastUse: 0 })
  }

  reserve(bytes: number, idle: boolean): Block | undefined {
    const fits = (range: Block) => range.bytes >= bytes && !(idle && range.lastUse > this.queue.completed)
    const find = () => {
      let best = -1
      for (let i = 0; i < this.ranges.length; i++) {
        const range = this.ranges[i] as Block
        if (fits(range) && (best < 0 || range.bytes < (this.ranges[best] as Block).bytes)) best = i
      }
      return best
    }
    let index = find()
    if (index < 0) {
      if (!this.grow(bytes, idle)) return undefined
      index = find()
    }
    return this.cut(index, bytes)
  }

  release({ address, bytes }: Block): void {
    this.insert({ address, bytes, lastUse: this.queue.submitted })
  }

  settle(): void {
    // Released ranges are free at once: memory is stream-ordered.
  }

  private cut(index: number, bytes: number): Block {
    const { address, bytes: size, lastUse } = this.ranges[index] as Block
    if (size === bytes) this.ranges.splice(index, 1)
    else this.ranges[index] = { address: address + bytes, bytes: size - bytes, lastUse }
    return { address, bytes, lastUse }
  }

  private insert(block: Block): void {
    let index = this.ranges.findIndex(({ address }) => address > block.address)
    if (index < 0) index = this.ranges.length
    const before = this.ranges[index - 1]
    const after = this.ranges[index]
    let merged = block
    let from = index
    let count = 0
    if (before && before.address + before.bytes === merged.address) {
      merged = join(before, merged)
      from--
      count++
    }
    if (after && merged.address + merged.bytes === after.address) {
      merged = join(merged, after)
      count++
    }
    this.ranges.splice(from, count, merged)
  }

  private grow(bytes: number, idle: boolean): boolean {
    const end = this.memory.buffer.byteLength
    const last = this.ranges.at(-1)
    const extendsLast = last && last.address + last.bytes === end && !(idle && last.lastUse > this.queue.completed)
    const needed = extendsLast ? bytes - last.bytes : bytes
    const pages = [Math.max(needed, GROWTH), needed].map((size) => Math.ceil(size / PAGE))
    if (!pages.some((count) => this.tryGrow(count))) return false
    const fresh = { address: end, bytes: this.memory.buffer.byteLength - end, lastUse: 0 }
    // A busy range is not merged with fresh memory, which must count as idle.
    if (last && !extendsLast && last.address + last.bytes === end) this.ranges.push(fresh)
    else this.insert(fresh)
    this.grown()
    return true
  }

  private tryGrow(pages: number): boolean {
    try {
      this.memory.grow(pages)
      return true
    } catch {
      return false
    }
  }
}

function join(first: Block, second: Block): Block {
  return { address: first.address, bytes: first.bytes + second.bytes, lastUse: Math.max(first.lastUse, second.lastUse) }
}
