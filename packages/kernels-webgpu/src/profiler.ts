import { UnsupportedError } from '@tilegrad/tensor'

/** GPU time that one kernel took, over its dispatches. */
export interface KernelProfile {
  readonly calls: number
  readonly milliseconds: number
}

/** Dispatches that one query set times: at least those of a command buffer. */
const TIMED = 256

// GPUBufferUsage.QUERY_RESOLVE | COPY_SRC and MAP_READ | COPY_DST, GPUMapMode.READ: not globals in Node.
const RESOLVE = 0x200 | 0x4
const READBACK = 0x1 | 0x8
const MAP_READ = 1

/** Times dispatches with timestamp queries while it is on. */
export class Profiler {
  private on = false
  private queries: GPUQuerySet | undefined
  private resolved: GPUBuffer | undefined
  /** Kernels of the command buffer that is being recorded. */
  private kernels: string[] = []
  private staging: { readonly buffer: GPUBuffer; readonly kernels: readonly string[] } | undefined
  private readonly pending: Promise<void>[] = []
  private profiles = new Map<string, KernelProfile>()

  constructor(private readonly device: GPUDevice) {}

  start(): void {
    if (!this.device.features.has('timestamp-query')) {
      throw new UnsupportedError('webgpu', 'startProfile', "a device without the feature 'timestamp-query'")
    }
    this.queries ??= this.device.createQuerySet({ type: 'timestamp', count: 2 * TIMED })
    this.resolved ??= this.device.createBuffer({ label: 'timestamps', size: 16 * TIMED, usage: RESOLVE })
    this.profiles = new Map()
    this.on = true
  }

  /** Times by kernel since start(), the longest first. Call it when all work is done. */
  async stop(): Promise<Map<string, KernelProfile>> {
    this.on = false
    await Promise.all(this.pending.splice(0))
    return new Map([...this.profiles].sort(([, a], [, b]) => b.milliseconds - a.milliseconds))
  }

  /** For the pass of the next dispatch, if it is to be timed. */
  timestamps(kernel: string): GPUComputePassTimestampWrites | undefined {
    if (!this.on || !this.queries) return undefined
    const index = 2 * this.kernels.length
    this.kernels.push(kernel)
    return { querySet: this.queries, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 }
  }

  /** Ends a command buffer. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.kernels.length === 0 || !this.queries || !this.resolved) return
    const { kernels } = this
    const bytes = 16 * kernels.length
    this.kernels = []
    const buffer = this.device.createBuffer({ label: 'timestamps', size: bytes, usage: READBACK })
    encoder.resolveQuerySet(this.queries, 0, 2 * kernels.length, this.resolved, 0)
    encoder.copyBufferToBuffer(this.resolved, 0, buffer, 0, bytes)
    this.staging = { buffer, kernels }
  }

  /** After the command buffer was submitted. */
  collect(): void {
    const { staging } = this
    if (!staging) return
    this.staging = undefined
    const { buffer, kernels } = staging
    const adding = buffer.mapAsync(MAP_READ).then(() => {
      const times = new BigUint64Array(buffer.getMappedRange())
      kernels.forEach((kernel, i) => {
        const nanoseconds = Number((times[2 * i + 1] as bigint) - (times[2 * i] as bigint))
        const { calls, milliseconds } = this.profiles.get(kernel) ?? { calls: 0, milliseconds: 0 }
        this.profiles.set(kernel, { calls: calls + 1, milliseconds: milliseconds + Math.max(0, nanoseconds) / 1e6 })
      })
      buffer.destroy()
    })
    this.pending.push(adding.catch(() => {})) // the device is lost, which the next read says
  }

  destroy(): void {
    this.queries?.destroy()
    this.resolved?.destroy()
  }
}
