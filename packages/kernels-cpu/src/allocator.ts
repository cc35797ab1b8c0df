import { type MemoryInfo, OutOfMemoryError } from '@tilegrad/tensor'

/** A range of the engine's memory, 64-byte aligned. */
export interface Block {
  readonly address: number
  readonly bytes: number
  /** Commands submitted when it was freed: once so many are completed, nothing touches it any more. */
  lastUse: number
}

/** Where blocks come from: the system, or the linear memory of WebAssembly. */
export interface MemorySource {
  /** A block of at least `bytes`, or undefined if there is none. With `idle`, one that no pending command touches. */
  reserve(bytes: number, idle: boolean): Block | undefined
  /** Takes a block back, for use after the commands submitted so far. */
  release(block: Block): void
  /** Waits, if it can, until released blocks can be reserved. */
  settle(): void
}

/** What the allocator needs to know of the command queue. */
export interface QueueProgress {
  readonly submitted: number
  readonly completed: number
}

const ALIGNMENT = 64
/** Cached blocks may take the total to this factor of the peak, plus the constant. */
const CACHE_FACTOR = 1.25
const CACHE_BYTES = 64 * 2 ** 20

/**
 * A caching, stream-ordered allocator. Commands run in the order of submission, so a block that is freed can be handed out at once to commands that are
 * submitted later, while earlier ones still use it. Only direct access from TypeScript needs an idle block.
 *
 * Freed blocks are cached by size class (eight classes for each doubling, at most 1/8 larger than asked). Live and cached bytes together stay below
 * 1.25 × the peak + 64 MiB; what exceeds it goes back to the source, the least recently used first.
 */
export class Allocator {
  private live: number
  private peak: number
  private cachedBytes = 0
  private closed = false
  private readonly classes = new Map<number, Block[]>()
  /** All cached blocks in the order of freeing. */
  private readonly cached = new Set<Block>()

  /**
   * @param ownBytes Held by the engine itself all the time and counted with the tensors.
   * @param maxBytes Live and cached bytes together never exceed this.
   */
  constructor(
    private readonly source: MemorySource,
    private readonly queue: QueueProgress,
    ownBytes: number,
    private readonly maxBytes: number,
  ) {
    this.live = ownBytes
    this.peak = ownBytes
  }

  /** @throws OutOfMemoryError */
  alloc(bytes: number, idle = false): Block {
    const size = sizeClass(bytes)
    const block = this.takeCached(size, idle) ?? this.reserve(size, idle)
    if (!block) throw new OutOfMemoryError('cpu', bytes, this.live)
    this.live += block.bytes
    this.peak = Math.max(this.peak, this.live)
    return block
  }

  free(block: Block): void {
    if (this.closed) return
    block.lastUse = this.queue.submitted
    this.live -= block.bytes
    this.cachedBytes += block.bytes
    this.cached.add(block)
    const blocks = this.classes.get(block.bytes)
    if (blocks) blocks.push(block)
    else this.classes.set(block.bytes, [block])
  }

  /** The engine has freed all memory: what is freed from now on needs nothing. */
  close(): void {
    this.closed = true
    this.live = 0
  }

  /** Bytes of live blocks and the engine's own; cached ones do not count. */
  memory(): MemoryInfo {
    return { bytes: this.live, peakBytes: this.peak }
  }

  /** Bytes that are held and not in use. */
  get cacheBytes(): number {
    return this.cachedBytes
  }

  resetPeak(): void {
    this.peak = this.live
    this.trimTo(this.bound())
  }

  /** The block that was freed last, whose lines may still be in cache; or, to be idle, the one freed first. */
  private takeCached(size: number, idle: boolean): Block | undefined {
    const blocks = this.classes.get(size)
    const block = idle ? blocks?.[0] : blocks?.at(-1)
    if (!blocks || !block || (idle && block.lastUse > this.queue.completed)) return undefined
    if (idle) blocks.shift()
    else blocks.pop()
    this.forget(block)
    return block
  }

  private reserve(size: number, idle: boolean): Block | undefined {
    this.trimTo(Math.min(this.bound(), this.maxBytes) - size)
    if (this.live + this.cachedBytes + size > this.maxBytes) return undefined
    const block = this.source.reserve(size, idle)
    if (block) return block
    this.trimTo(0)
    this.source.settle()
    return this.source.reserve(size, idle)
  }

  /** What live and cached bytes together may be. */
  private bound(): number {
    return this.peak * CACHE_FACTOR + CACHE_BYTES
  }

  /** Gives cached blocks back until live and cached bytes are at most `total`, or none is cached. */
  private trimTo(total: number): void {
    for (const block of this.cached) {
      if (this.live + this.cachedBytes <= total) return
      const blocks = this.classes.get(block.bytes)
      blocks?.splice(blocks.indexOf(block), 1)
      this.forget(block)
      this.source.release(block)
    }
  }

  private forget(block: Block): void {
    this.cached.delete(block)
    this.cachedBytes -= block.bytes
  }
}

/** `bytes` rounded up to a class: a multiple of an eighth of the power of two below, and of the alignment. */
export function sizeClass(bytes: number): number {
  if (bytes <= ALIGNMENT) return ALIGNMENT
  const step = Math.max(ALIGNMENT, 2 ** (Math.floor(Math.log2(bytes)) - 3))
  return Math.ceil(bytes / step) * step
}
