import { OutOfMemoryError, type TilegradError } from '@tilegrad/tensor'

/** A GPU buffer that one storage holds, or that waits in the pool for the next. */
export interface Block {
  /** Never used again for another block: what bind groups are cached by. */
  readonly id: number
  readonly buffer: GPUBuffer
  readonly bytes: number
  /** Number of the last command that reads or writes it. */
  lastUse: number
  /** Number of the last command that writes it. */
  lastWrite: number
  /** Why its elements are not to be trusted. */
  error: TilegradError | undefined
}

/** Called with what went wrong when a buffer could not be made. */
export type OnFailedAllocation = (error: OutOfMemoryError, block: Block) => void

// Numbers, because GPUBufferUsage is not a global in Node: MAP_READ | COPY_DST, and STORAGE | COPY_SRC | COPY_DST.
export const READBACK = 0x1 | 0x8
export const TENSOR = 0x80 | 0x4 | 0x8

/** Slack for buffers kept for reuse, beside a quarter of the peak. */
const CACHED_BYTES = 64 * 2 ** 20

let nextId = 0

/**
 * GPU buffers by size class, with exact accounting. Commands run in order, so a buffer that was freed can go to the next
 * command at once; one that the host is to write must be `idle`, since writes of the host overtake commands not submitted yet.
 */
export class BufferPool {
  private readonly free = new Map<number, Block[]>()
  private readonly live = new Set<Block>()
  private liveBytes = 0
  private cachedBytes = 0
  private peakBytes = 0

  /** @param submitted gives the number of the last command that was submitted */
  constructor(
    private readonly device: GPUDevice,
    private readonly submitted: () => number,
    private readonly onFailed: OnFailedAllocation,
  ) {}

  /**
   * @param owner the kernel or method that asks, for messages
   * @param idle no command that is not submitted yet uses it
   * @throws OutOfMemoryError for more than the device allows in one buffer; what it cannot provide shows up later (onFailed)
   */
  alloc(owner: string, bytes: number, idle = false): Block {
    const size = sizeClass(bytes)
    const block = this.takeFree(size, idle) ?? this.create(owner, size)
    this.live.add(block)
    this.liveBytes += size
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes)
    return block
  }

  /** A block around a caller's buffer, which the pool neither counts nor frees. */
  adopt(buffer: GPUBuffer): Block {
    return { id: nextId++, buffer, bytes: buffer.size, lastUse: 0, lastWrite: 0, error: undefined }
  }

  release(block: Block): void {
    this.live.delete(block)
    this.liveBytes -= block.bytes
    if (block.error) {
      // Commands that are not submitted yet would fail once more on a destroyed buffer; then the garbage collector frees it.
      if (block.lastUse <= this.submitted()) block.buffer.destroy()
      return
    }
    const list = this.free.get(block.bytes)
    if (list) list.push(block)
    else this.free.set(block.bytes, [block])
    this.cachedBytes += block.bytes
    this.trim()
  }

  /** Marks every live block that was written by command `from` or a later one. */
  poison(error: TilegradError, from: number): void {
    for (const block of this.live) if (block.lastWrite >= from) block.error ??= error
  }

  memory(): { bytes: number; peakBytes: number } {
    return { bytes: this.liveBytes, peakBytes: this.peakBytes }
  }

  resetPeak(): void {
    this.peakBytes = this.liveBytes
  }

  destroy(): void {
    for (const block of this.live) block.buffer.destroy()
    for (const list of this.free.values()) for (const block of list) block.buffer.destroy()
    this.free.clear()
    this.cachedBytes = 0
  }

  private takeFree(size: number, idle: boolean): Block | undefined {
    const list = this.free.get(size)
    if (!list) return undefined
    let at = list.length - 1
    while (idle && at >= 0 && (list[at] as Block).lastUse > this.submitted()) at--
    if (at < 0) return undefined
    this.cachedBytes -= size
    return list.splice(at, 1)[0]
  }

  private create(owner: string, size: number): Block {
    const { device } = this
    const held = this.liveBytes
    const error = new OutOfMemoryError(`webgpu: ${owner}`, size, held)
    if (size > device.limits.maxBufferSize) throw error
    device.pushErrorScope('validation')
    device.pushErrorScope('out-of-memory')
    const buffer = device.createBuffer({ size, usage: TENSOR, label: owner })
    const block: Block = { id: nextId++, buffer, bytes: size, lastUse: 0, lastWrite: 0, error: undefined }
    const failed = () => {
      block.error = error
      this.onFailed(error, block)
    }
    for (const scope of [device.popErrorScope(), device.popErrorScope()]) scope.then((problem) => problem && failed(), ignore)
    return block
  }

  /** Gives cached buffers back to the system, the oldest of the largest first, until what is held is near the peak. */
  private trim(): void {
    const bound = 1.25 * this.peakBytes + CACHED_BYTES
    if (this.liveBytes + this.cachedBytes <= bound) return
    for (const size of [...this.free.keys()].sort((a, b) => b - a)) {
      const list = this.free.get(size) as Block[]
      while (this.liveBytes + this.cachedBytes > bound && list[0] && list[0].lastUse <= this.submitted()) {
        list.shift()?.buffer.destroy()
        this.cachedBytes -= size
      }
    }
  }
}

/** Up to an eighth more than asked, so that near sizes share buffers; a multiple of 16 bytes. */
export function sizeClass(bytes: number): number {
  const step = 2 ** Math.max(4, Math.floor(Math.log2(Math.max(1, bytes))) - 3)
  return Math.max(16, Math.ceil(bytes / step) * step)
}

/** The device is lost: that is reported where it is noticed first. */
function ignore(): void {}
