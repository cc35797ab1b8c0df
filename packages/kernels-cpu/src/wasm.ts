import { DeviceError } from '@tilegrad/tensor'
import { Allocator } from './allocator'
import { CommandRing, controlBytes, disposedError } from './command-ring'
import type { Engine, EngineOptions } from './engine'
import { isNode } from './node'
import { WasmHeap } from './wasm-heap'
import {
  compileModule,
  createMemory,
  instantiate,
  kernelNames,
  type WasmIsa,
  type WasmMemory,
  type WasmModule,
  wasmIsas,
} from './wasm-module'
import { type EngineWorker, startWorker, type WorkerMessage } from './wasm-workers'

const STACK_BYTES = 256 * 1024
const ALIGNMENT = 64

/**
 * Starts the WebAssembly engine: on `threads` workers with shared memory, or without workers in the caller's thread where memory cannot be shared
 * and, in Node, for one thread.
 * @param isa Instruction set, the best that there is by default.
 * @throws DeviceError if the modules do not load or the workers do not start.
 */
export async function createWasmEngine(options: EngineOptions, isa: WasmIsa = wasmIsas()[0]): Promise<Engine> {
  const reason = whyNoSharing()
  const inline = reason !== undefined || (isNode && options.threads === 1)
  const threads = inline ? 1 : options.threads
  const module = await compileModule(isa, inline ? 'single' : 'threads')
  const memory = createMemory(!inline)
  const engine = new WasmEngine(isa, module, memory, inline, { ...options, threads }, options.threads > 1 ? reason : undefined)
  await engine.start()
  return engine
}

/** Why this place has no shared memory, or undefined if it has. */
function whyNoSharing(): string | undefined {
  if (isNode) return undefined
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== true) return 'the page is not cross-origin isolated'
  return typeof SharedArrayBuffer === 'undefined' ? 'no SharedArrayBuffer' : undefined
}

class WasmEngine implements Engine {
  readonly runtime = 'wasm'
  readonly lanes: number
  readonly threads: number
  readonly kernels: readonly string[]
  readonly ring: CommandRing
  readonly allocator: Allocator
  private readonly copy: number
  private readonly stacks: number
  private workers: EngineWorker[] = []

  constructor(
    readonly isa: WasmIsa,
    private readonly module: WasmModule,
    private readonly memory: WasmMemory,
    private readonly inline: boolean,
    options: EngineOptions,
    readonly note: string | undefined,
  ) {
    const exports = instantiate(module, memory, (id) => this.ring.onFence(id))
    this.threads = options.threads
    this.lanes = exports.lanes()
    this.kernels = kernelNames(exports, memory)
    this.copy = this.kernels.indexOf('memory_copy')

    // Below the heap: the command queue, each worker's stack and scratch.
    const control = Math.ceil(exports.__heap_base.value / ALIGNMENT) * ALIGNMENT
    this.stacks = Math.ceil((control + controlBytes) / ALIGNMENT) * ALIGNMENT
    const scratch = this.stacks + (inline ? 0 : STACK_BYTES * this.threads)
    const scratchBytes = exports.scratch_bytes() * this.threads
    const start = scratch + scratchBytes
    if (start > memory.buffer.byteLength) memory.grow(Math.ceil((start - memory.buffer.byteLength) / 65536))

    this.ring = new CommandRing({
      wake: inline ? () => exports.drain() : () => Atomics.notify(new Int32Array(memory.buffer, control, 1), 0),
      inline,
      hold: (waiting) => this.workers[0]?.hold(waiting),
    })
    const attach = () => this.ring.attach(memory.buffer, control)
    attach()
    exports.init(control, scratch, this.threads)
    const heap = new WasmHeap(start, memory, this.ring, attach)
    this.allocator = new Allocator(heap, this.ring, scratchBytes, Math.min(options.maxBytes, 2 ** 32))
  }

  /** Starts the workers and waits until they run. */
  async start(): Promise<void> {
    if (this.inline) return
    const starting = Array.from({ length: this.threads }, (_, worker) => this.startWorker(worker))
    try {
      await Promise.all(starting)
    } catch (error) {
      await this.dispose()
      throw error
    }
    for (const worker of this.workers) worker.hold(false)
  }

  private startWorker(index: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const receive = ({ ready, fence, error }: WorkerMessage) => {
        if (fence !== undefined) this.ring.onFence(fence)
        if (ready) resolve()
        if (error !== undefined) {
          const failure = new DeviceError(`cpu: WebAssembly worker ${index} failed: ${error}`)
          this.ring.fail(failure)
          reject(failure)
        }
      }
      const stackTop = this.stacks + STACK_BYTES * (index + 1)
      startWorker(receive).then((worker) => {
        this.workers[index] = worker
        worker.post({ module: this.module, memory: this.memory, worker: index, stackTop })
      }, reject)
    })
  }

  write(address: number, data: Uint8Array): void {
    new Uint8Array(this.memory.buffer, address, data.byteLength).set(data)
  }

  async read(address: number, into: Uint8Array): Promise<void> {
    if (this.ring.idle) {
      this.copyOut(address, into)
      return
    }
    const staging = this.allocator.alloc(into.byteLength)
    try {
      this.ring.kernel(this.copy, [staging.address, address, into.byteLength])
      await this.ring.fence()
      this.copyOut(staging.address, into)
    } finally {
      this.allocator.free(staging)
    }
  }

  async dispose(): Promise<void> {
    this.ring.stop()
    await Promise.all(this.workers.map((worker) => worker.terminate()))
    this.allocator.close()
    this.ring.fail(disposedError('read'))
  }

  private copyOut(address: number, into: Uint8Array): void {
    into.set(new Uint8Array(this.memory.buffer, address, into.byteLength))
  }
}
