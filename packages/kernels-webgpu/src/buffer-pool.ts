import { OutOfMemoryError, type TilegradError } from '@tilegrad/tensor'

/** Memory of the device that somebody holds, or that waits in the pool for the next. */
export interface Allocation {
  /** Never used again for another one: what bind groups are cached by. */
  readonly id: number
  readonly bytes: number
  /** Number of the last command that reads or writes it. */
  lastUse: number
  /** Number of the last command that writes it. */
  lastWrite: number
  /** Why its elements are not to be trusted. */
  error: TilegradError | undefined
}

export interface Block extends Allocation {
  readonly buffer: GPUBuffer
}

/** Vectors of four f32 in rows of TEXELS_A_ROW. */
export interface TextureBlock extends Allocation {
  readonly texture: GPUTexture
  readonly view: GPUTextureView
}

/** Called with what went wrong when memory could not be provided. */
export type OnFailedAllocation = (error: OutOfMemoryError) => void

// Numbers, because GPUBufferUsage is not a global in Node: MAP_READ | COPY_DST, and STORAGE | COPY_SRC | COPY_DST.
export const READBACK = 0x1 | 0x8
export const TENSOR = 0x80 | 0x4 | 0x8
/** GPUTextureUsage.STORAGE_BINDING | COPY_DST */
const TEXELS = 0x8 | 0x2

/** Texels in a row of a texture. Mirrored in shaders/texels.wgsl. */
export const TEXELS_A_ROW = 1024
export const BYTES_OF_TEXEL = 16

/** Slack for buffers kept for reuse, beside a quarter of the peak. */
const CACHED_BYTES = 64 * 2 ** 20

let nextId = 0

/**
 * GPU buffers and textures by size class, with exact accounting. Commands run in order, so a buffer that was freed can go to the next
 * command at once; one that the host is to write must be `idle`, since writes of the host overtake commands not submitted yet.
 */
export class BufferPool {
  private readonly freeBuffers: FreeLists<Block> = new Map()
  private readonly freeTextures: FreeLists<TextureBlock> = new Map()
  private readonly live = new Set<Block | TextureBlock>()
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
    return this.hold(this.takeFree(this.freeBuffers, size, idle) ?? this.create(owner, size))
  }

  /** @throws OutOfMemoryError for more rows than the device allows in one texture; what it cannot provide shows up later (onFailed) */
  allocTexture(owner: string, texels: number): TextureBlock {
    const rows = upToAnEighth(Math.max(1, Math.ceil(texels / TEXELS_A_ROW)), 1)
    const size = rows * TEXELS_A_ROW * BYTES_OF_TEXEL
    return this.hold(this.takeFree(this.freeTextures, size, false) ?? this.createTexture(owner, rows, size))
  }

  /** A block around a caller's buffer, which the pool neither counts nor frees. */
  adopt(buffer: GPUBuffer): Block {
    return { id: nextId++, buffer, bytes: buffer.size, lastUse: 0, lastWrite: 0, error: undefined }
  }

  release(block: Block | TextureBlock): void {
    this.live.delete(block)
    this.liveBytes -= block.bytes
    if (block.error) {
      // Commands that are not submitted yet would fail once more on what is destroyed; then the garbage collector frees it.
      if (block.lastUse <= this.submitted()) destroy(block)
      return
    }
    if ('buffer' in block) keep(this.freeBuffers, block)
    else keep(this.freeTextures, block)
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
    for (const block of this.live) destroy(block)
    for (const free of [this.freeBuffers, this.freeTextures]) {
      for (const list of free.values()) for (const block of list) destroy(block)
      free.clear()
    }
    this.cachedBytes = 0
  }

  private hold<T extends Block | TextureBlock>(block: T): T {
    this.live.add(block)
    this.liveBytes += block.bytes
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes)
    return block
  }

  private takeFree<T extends Allocation>(free: FreeLists<T>, size: number, idle: boolean): T | undefined {
    const list = free.get(size)
    if (!list) return undefined
    let at = list.length - 1
    while (idle && at >= 0 && (list[at] as T).lastUse > this.submitted()) at--
    if (at < 0) return undefined
    this.cachedBytes -= size
    return list.splice(at, 1)[0]
  }

  private create(owner: string, size: number): Block {
    const { device } = this
    return this.guarded(owner, size, size <= device.limits.maxBufferSize, (allocation) => ({
      ...allocation,
      buffer: device.createBuffer({ size, usage: TENSOR, label: owner }),
    }))
  }

  private createTexture(owner: string, rows: number, bytes: number): TextureBlock {
    const { device } = this
    return this.guarded(owner, bytes, rows <= device.limits.maxTextureDimension2D, (allocation) => {
      const texture = device.createTexture({ size: [TEXELS_A_ROW, rows], format: 'rgba32float', usage: TEXELS, label: owner })
      return { ...allocation, texture, view: texture.createView() }
    })
  }

  /** @param allowed whether the device's limits allow it */
  private guarded<T extends Allocation>(owner: string, bytes: number, allowed: boolean, make: (allocation: Allocation) => T): T {
    const { device } = this
    const error = new OutOfMemoryError(`webgpu: ${owner}`, bytes, this.liveBytes)
    if (!allowed) throw error
    device.pushErrorScope('validation')
    device.pushErrorScope('out-of-memory')
    const block = make({ id: nextId++, bytes, lastUse: 0, lastWrite: 0, error: undefined })
    const failed = () => {
      block.error = error
      this.onFailed(error)
    }
    for (const scope of [device.popErrorScope(), device.popErrorScope()]) scope.then((problem) => problem && failed(), ignore)
    return block
  }

  /** Gives cached buffers back to the system, the oldest of the largest first, until what is held is near the peak. */
  private trim(): void {
    const bound = 1.25 * this.peakBytes + CACHED_BYTES
    if (this.liveBytes + this.cachedBytes <= bound) return
    const lists: (readonly [number, (Block | TextureBlock)[]])[] = [...this.freeBuffers, ...this.freeTextures]
    for (const [size, list] of lists.sort(([a], [b]) => b - a)) {
      while (this.liveBytes + this.cachedBytes > bound && list[0] && list[0].lastUse <= this.submitted()) {
        destroy(list.shift() as Block | TextureBlock)
        this.cachedBytes -= size
      }
    }
  }
}

/** By size. */
type FreeLists<T> = Map<number, T[]>

function keep<T extends Allocation>(free: FreeLists<T>, block: T): void {
  const list = free.get(block.bytes)
  if (list) list.push(block)
  else free.set(block.bytes, [block])
}

function destroy(block: Block | TextureBlock): void {
  if ('buffer' in block) block.buffer.destroy()
  else block.texture.destroy()
}

/** Up to an eighth more than asked, so that near sizes share buffers; a multiple of 16 bytes. */
export function sizeClass(bytes: number): number {
  return Math.max(16, upToAnEighth(bytes, 16))
}

function upToAnEighth(count: number, least: number): number {
  const step = Math.max(least, 2 ** (Math.floor(Math.log2(Math.max(1, count))) - 3))
  return Math.ceil(count / step) * step
}

/** The device is lost: that is reported where it is noticed first. */
function ignore(): void {}
