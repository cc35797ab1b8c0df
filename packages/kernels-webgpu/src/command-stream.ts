import { DeviceError, DisposedError, type TilegradError } from '@tilegrad/tensor'
import { BindGroups } from './bind-groups'
import { type Allocation, type Block, BYTES_OF_TEXEL, READBACK, TEXELS_A_ROW, type TextureBlock } from './buffer-pool'
import type { PipelineSlot } from './pipelines'
import { Profiler } from './profiler'
import { restUntil } from './resting'

/** A part of a buffer, as it is bound. */
export interface Range {
  readonly block: Block
  /** In bytes, aligned as the device wants it. */
  readonly offset: number
  /** In bytes, a multiple of 4. */
  readonly bytes: number
}

export interface BoundBuffer extends Range {
  readonly index: number
  readonly written: boolean
}

/** A texture, which kernels read only. */
export interface BoundTexture {
  readonly index: number
  readonly texture: TextureBlock
}

export type Bound = BoundBuffer | BoundTexture

/** A kernel with everything that it runs on. */
export interface Dispatch {
  readonly kernel: string
  readonly slot: PipelineSlot
  /** By binding index, ascending. */
  readonly bindings: readonly Bound[]
  readonly params: ArrayBuffer
  readonly workgroups: readonly [number, number, number]
}

type Command =
  | ({ readonly type: 'dispatch' } & Dispatch)
  | { readonly type: 'copy'; readonly from: Range; readonly to: Range }
  | { readonly type: 'fill'; readonly from: Range; readonly texture: TextureBlock }
  | { readonly type: 'clear'; readonly range: Range }
  | { readonly type: 'read'; readonly from: Range; readonly promise: Settle<ArrayBuffer> }
  | { readonly type: 'fence'; readonly promise: Settle<void> }
  | { readonly type: 'flush'; readonly promise: Settle<void> }

interface Settle<T> {
  resolve(value: T): void
  reject(error: unknown): void
}

type Numbered = Command & { readonly number: number }

/** An error that reads are rejected with: those under way when it was discovered, and at least one. */
interface Failure {
  readonly error: TilegradError
  /** Number of the last command at that moment. */
  readonly discovered: number
  reported: boolean
}

/** Commands of one command buffer. */
interface Batch {
  readonly encoder: GPUCommandEncoder
  pass: GPUComputePassEncoder | undefined
  readonly first: number
  readonly kernels: Set<string>
  dispatches: number
  /** Run once the batch is submitted. */
  readonly after: (() => void)[]
}

/** Dispatches of a command buffer: as many as the parameters buffer has slots. */
const SLOTS = 256
/** At least those of the largest `struct Params`, and aligned. */
const SLOT_BYTES = 512
/** Parameter buffers in turn, so that writing one need not wait for the command buffer before. */
const ARENAS = 4
/** Commands that start the GPU without waiting for the end of the caller's synchronous code. */
const EAGER = 128

/**
 * Runs commands in the order in which they were enqueued. They are recorded into command buffers when the caller's synchronous code
 * ends (or there are many), and wait there for pipelines that are still being made.
 */
export class CommandStream {
  private readonly queue: Numbered[] = []
  private readonly unsettled = new Set<{ readonly promise: Settle<never> }>()
  private readonly bindGroups: BindGroups
  private readonly arenas: { readonly buffer: GPUBuffer; readonly group: GPUBindGroup }[]
  private readonly arenaData = new Uint8Array(SLOTS * SLOT_BYTES)
  private readonly profiler: Profiler
  private batches = 0
  private enqueued = 0
  private recorded = 0
  private submittedNumber = 0
  private batch: Batch | undefined
  private scheduled = false
  private waiting = false
  /** Resolves once every batch so far is known to be valid or reported as failed. */
  private checked: Promise<unknown> = Promise.resolve()
  private failure: Failure | undefined
  private ended: TilegradError | undefined

  /** @param onFailed is told that the results of command `from` and of all that is enqueued so far are lost */
  constructor(
    private readonly device: GPUDevice,
    paramsLayout: GPUBindGroupLayout,
    private readonly onFailed: (error: TilegradError, from: number) => void,
  ) {
    this.bindGroups = new BindGroups(device)
    this.profiler = new Profiler(device)
    this.arenas = Array.from({ length: ARENAS }, () => {
      const buffer = device.createBuffer({ label: 'params', size: SLOTS * SLOT_BYTES, usage: UNIFORM })
      const entries = [{ binding: 0, resource: { buffer, offset: 0, size: SLOT_BYTES } }]
      return { buffer, group: device.createBindGroup({ label: 'params', layout: paramsLayout, entries }) }
    })
  }

  /** The number of the last command that was submitted. */
  readonly submitted = (): number => this.submittedNumber

  dispatch(dispatch: Dispatch): void {
    const number = this.push({ type: 'dispatch', ...dispatch })
    for (const bound of dispatch.bindings) {
      if ('texture' in bound) mark(bound.texture, number, false)
      else mark(bound.block, number, bound.written)
    }
  }

  copy(from: Range, to: Range): void {
    const number = this.push({ type: 'copy', from, to })
    mark(from.block, number, false)
    mark(to.block, number, true)
  }

  /** Copies a range, whole texels from a whole texel on, to the begin of a texture. */
  fill(texture: TextureBlock, from: Range): void {
    const number = this.push({ type: 'fill', from, texture })
    mark(from.block, number, false)
    mark(texture, number, true)
  }

  clear(range: Range): void {
    mark(range.block, this.push({ type: 'clear', range }), true)
  }

  /** The bytes of a range (offset and length multiples of 4) once the commands before are done. */
  read(from: Range): Promise<ArrayBuffer> {
    const { error } = from.block
    if (error) {
      if (this.failure?.error === error) this.failure.reported = true
      return Promise.reject(error)
    }
    return this.settling<ArrayBuffer>((promise) => mark(from.block, this.push({ type: 'read', from, promise }), false))
  }

  /** Resolves when the commands so far are done. */
  fence(): Promise<void> {
    return this.settling<void>((promise) => this.push({ type: 'fence', promise }))
  }

  /** Resolves when the commands so far are submitted. */
  flush(): Promise<void> {
    return this.settling<void>((promise) => this.push({ type: 'flush', promise }))
  }

  /** Remembers an error of command `from`, or of what was called in between, for the next read or sync. */
  fail(error: TilegradError, from = this.enqueued): void {
    const known = this.failure
    this.failure =
      known && !known.reported ? { ...known, discovered: this.enqueued } : { error, discovered: this.enqueued, reported: false }
    this.onFailed(error, from)
  }

  /** Runs calls of the device that are no commands: what they do wrong with `block` is remembered as `fail` does, and nobody else hears of it. */
  guard(kernel: string, block: Block, calls: () => void): void {
    this.device.pushErrorScope('validation')
    calls()
    this.device.popErrorScope().then(
      (problem) => {
        if (!problem || block.error) return // one that was not provided is known already
        block.error = new DeviceError(`webgpu: ${kernel}: ${problem.message.trim()}`)
        this.fail(block.error)
      },
      () => {}, // the device is lost: see end()
    )
  }

  /** Rejects everything pending, and whatever comes, with `error`. */
  end(error: TilegradError): void {
    if (this.ended) return
    this.ended = error
    this.queue.length = 0
    this.batch = undefined
    for (const { promise } of this.unsettled) promise.reject(error)
    this.unsettled.clear()
  }

  startProfile(): void {
    this.profiler.start()
  }

  stopProfile(): Promise<Map<string, { calls: number; milliseconds: number }>> {
    return this.profiler.stop()
  }

  destroy(): void {
    this.end(new DisposedError('read', 'the webgpu backend'))
    for (const { buffer } of this.arenas) buffer.destroy()
    this.profiler.destroy()
  }

  private push(command: Command): number {
    const number = ++this.enqueued
    if (this.ended) return number
    this.queue.push({ ...command, number })
    if (this.queue.length >= EAGER && !this.waiting) this.drain()
    else if (!this.scheduled) {
      this.scheduled = true
      queueMicrotask(() => {
        this.scheduled = false
        this.drain()
      })
    }
    return number
  }

  private settling<T>(enqueue: (promise: Settle<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.ended) {
        reject(this.ended)
        return
      }
      const entry = {
        promise: {
          resolve: (value: T) => {
            this.unsettled.delete(entry)
            resolve(value)
          },
          reject: (error: unknown) => {
            this.unsettled.delete(entry)
            reject(error)
          },
        },
      }
      this.unsettled.add(entry)
      enqueue(entry.promise)
    })
  }

  /** Records and submits commands from the head of the queue up to the first whose pipeline is not there yet. */
  private drain(): void {
    if (this.waiting || this.ended) return
    let done = 0
    for (const command of this.queue) {
      if (command.type === 'dispatch' && !command.slot.pipeline) {
        this.waitFor(command)
        break
      }
      this.record(command)
      this.recorded = command.number
      done++
    }
    this.queue.splice(0, done)
    this.submit()
  }

  private waitFor(command: Numbered & { readonly type: 'dispatch' }): void {
    this.waiting = true
    const go = () => {
      this.waiting = false
      this.drain()
    }
    command.slot.ready.then(go, (error: TilegradError) => {
      this.fail(error, command.number)
      this.queue.shift()
      go()
    })
  }

  private record(command: Numbered): void {
    if (command.type === 'flush') {
      this.submit()
      command.promise.resolve()
      return
    }
    if (command.type === 'dispatch' && (this.batch?.dispatches ?? 0) >= SLOTS) this.submit()
    const batch = this.open(command.number)
    if (command.type === 'dispatch') {
      this.recordDispatch(batch, command)
      return
    }
    batch.pass?.end()
    batch.pass = undefined
    if (command.type === 'copy') {
      const { from, to } = command
      batch.encoder.copyBufferToBuffer(from.block.buffer, from.offset, to.block.buffer, to.offset, from.bytes)
    } else if (command.type === 'fill') fillTexture(batch.encoder, command.from, command.texture)
    else if (command.type === 'clear') {
      const { block, offset, bytes } = command.range
      batch.encoder.clearBuffer(block.buffer, offset, bytes)
    } else if (command.type === 'read') this.recordRead(batch, command)
    else batch.after.push(() => this.settle(this.device.queue.onSubmittedWorkDone(), command))
  }

  private open(number: number): Batch {
    if (this.batch) return this.batch
    this.device.pushErrorScope('internal')
    this.device.pushErrorScope('out-of-memory')
    this.device.pushErrorScope('validation')
    const encoder = this.device.createCommandEncoder({ label: 'tilegrad' })
    this.batch = { encoder, pass: undefined, first: number, kernels: new Set(), dispatches: 0, after: [] }
    return this.batch
  }

  private recordDispatch(batch: Batch, { kernel, slot, bindings, params, workgroups }: Dispatch): void {
    const arena = this.arenas[this.batches % ARENAS] as (typeof this.arenas)[number]
    const at = SLOT_BYTES * batch.dispatches++
    this.arenaData.set(new Uint8Array(params), at)
    batch.kernels.add(kernel)
    const timestamps = this.profiler.timestamps(kernel)
    if (timestamps) batch.pass?.end()
    const fresh = timestamps ? batch.encoder.beginComputePass({ label: kernel, timestampWrites: timestamps }) : undefined
    batch.pass = fresh ?? batch.pass ?? batch.encoder.beginComputePass({ label: 'tilegrad' })
    batch.pass.setPipeline(slot.pipeline as GPUComputePipeline)
    batch.pass.setBindGroup(0, this.bindGroups.get(kernel, slot.bindGroupLayout, bindings))
    batch.pass.setBindGroup(1, arena.group, [at])
    batch.pass.dispatchWorkgroups(...workgroups)
    if (timestamps) {
      batch.pass.end()
      batch.pass = undefined
    }
  }

  private recordRead(batch: Batch, command: Numbered & { readonly type: 'read' }): void {
    const { block, offset, bytes } = command.from
    const staging = this.device.createBuffer({ label: 'read', size: bytes, usage: READBACK })
    batch.encoder.copyBufferToBuffer(block.buffer, offset, staging, 0, bytes)
    batch.after.push(() => {
      const mapped = staging.mapAsync(MAP_READ).then(() => {
        const copy = staging.getMappedRange().slice(0)
        staging.destroy()
        return copy
      })
      this.settle(mapped, command, block)
    })
  }

  private submit(): void {
    const { batch } = this
    if (!batch) return
    this.batch = undefined
    batch.pass?.end()
    this.profiler.resolve(batch.encoder)
    const { queue } = this.device
    if (batch.dispatches > 0) {
      const arena = this.arenas[this.batches++ % ARENAS] as (typeof this.arenas)[number]
      queue.writeBuffer(arena.buffer, 0, this.arenaData, 0, SLOT_BYTES * batch.dispatches)
    }
    queue.submit([batch.encoder.finish()])
    this.submittedNumber = this.recorded
    this.check(batch)
    this.profiler.collect()
    for (const action of batch.after) action()
  }

  /** Closes the error scopes of a batch. What has failed in it names its kernel. */
  private check({ first, kernels }: Batch): void {
    const scopes = [this.device.popErrorScope(), this.device.popErrorScope(), this.device.popErrorScope()]
    const checking = Promise.all(scopes).then((errors) => {
      const error = errors.find((problem) => problem !== null)
      if (error) this.fail(new DeviceError(`webgpu: ${kernelsIn(error.message, kernels)}: ${error.message.trim()}`), first)
    })
    this.checked = Promise.all([this.checked, checking]).catch(() => {}) // the device is lost: see end()
  }

  /** Settles a read or fence with the result of `work`, unless something before it has failed. */
  private settle<T>(work: Promise<T>, { number, promise }: { number: number; promise: Settle<T> }, block?: Block): void {
    restUntil(work)
    Promise.all([work, this.checked]).then(
      ([value]) => {
        const error = this.failureFor(number) ?? block?.error
        if (error) promise.reject(error)
        else promise.resolve(value)
      },
      (error) => promise.reject(this.ended ?? this.failureFor(number) ?? new DeviceError(`webgpu: read: ${error}`, { cause: error })),
    )
  }

  private failureFor(number: number): TilegradError | undefined {
    const { failure } = this
    if (!failure) return undefined
    if (failure.reported && number > failure.discovered) {
      this.failure = undefined
      return undefined
    }
    failure.reported = true
    return failure.error
  }
}

/** The kernel that a message of the device names, or all that it may be about. */
function kernelsIn(message: string, kernels: ReadonlySet<string>): string {
  const named = [...kernels].find((kernel) => message.includes(`"${kernel}"`))
  return named ?? (kernels.size > 0 ? `one of ${[...kernels].join(', ')}` : 'a copy')
}

function fillTexture(encoder: GPUCommandEncoder, { block: { buffer }, offset, bytes }: Range, { texture }: TextureBlock): void {
  const texels = bytes / BYTES_OF_TEXEL
  const rows = Math.floor(texels / TEXELS_A_ROW)
  const bytesPerRow = TEXELS_A_ROW * BYTES_OF_TEXEL
  if (rows > 0) encoder.copyBufferToTexture({ buffer, offset, bytesPerRow }, { texture }, [TEXELS_A_ROW, rows])
  const rest = texels % TEXELS_A_ROW
  if (rest > 0) encoder.copyBufferToTexture({ buffer, offset: offset + rows * bytesPerRow }, { texture, origin: [0, rows] }, [rest, 1])
}

function mark(block: Allocation, number: number, written: boolean): void {
  block.lastUse = number
  if (written) block.lastWrite = number
}

// GPUBufferUsage.UNIFORM | COPY_DST and GPUMapMode.READ, which are not globals in Node.
const UNIFORM = 0x40 | 0x8
const MAP_READ = 1
