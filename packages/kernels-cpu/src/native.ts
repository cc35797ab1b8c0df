import { DeviceError } from '@tilegrad/tensor'
import { Allocator, type Block, type MemorySource } from './allocator'
import { CommandRing, controlBytes, disposedError } from './command-ring'
import type { Engine, EngineOptions } from './engine'
import { importNode, isNode } from './node'

/** What native/addon.cc exports. */
interface Addon {
  /** Instruction sets that this processor runs, best first. */
  readonly isas: readonly { readonly name: string; readonly lanes: number }[]
  readonly kernels: readonly string[]
  readonly scratchBytes: number
  readonly Engine: new (isa: string, threads: number, control: ArrayBuffer, onFence: (id: number) => void) => AddonEngine
}

interface AddonEngine {
  readonly controlOffset: number
  wake(): void
  reserve(bytes: number): number
  write(address: number, data: Uint8Array): void
  read(address: number, into: Uint8Array): void
  addressOf(array: Uint8Array): number
  waitUntilIdle(): void
  ref(): void
  unref(): void
  close(): void
}

const STOPPED = -1

// A static `new URL('…', import.meta.url)` would make bundlers look for the addon.
const here = import.meta.url

/**
 * Starts the native engine.
 * @param isa Instruction set, the best that there is by default.
 * @throws DeviceError with causes and remedies if the addon is not there or does not load.
 */
export async function createNativeEngine(options: EngineOptions, isa?: string): Promise<Engine> {
  const addon = await loadAddon()
  const chosen = isa === undefined ? addon.isas[0] : addon.isas.find(({ name }) => name === isa)
  if (!chosen) {
    const available = addon.isas.map(({ name }) => name).join(', ')
    throw new DeviceError(`createCpuBackend: isa must be one that this processor runs (${available}), got ${isa}`)
  }
  return new NativeEngine(addon, chosen.name, chosen.lanes, options)
}

/** Instruction sets of the native engine on this processor, best first; empty without the addon. */
export async function nativeIsas(): Promise<string[]> {
  return (await whyNoNative()) === undefined ? (await loadAddon()).isas.map(({ name }) => name) : []
}

/** Why there is no native engine here, or undefined if there is one. */
export async function whyNoNative(): Promise<string | undefined> {
  return loadAddon().then(
    () => undefined,
    (error: Error) => error.message,
  )
}

async function loadAddon(): Promise<Addon> {
  if (!isNode) throw new DeviceError('the native addon needs Node')
  const [{ createRequire }, { existsSync, readFileSync }] = await Promise.all([importNode('module'), importNode('fs')])
  const { fileURLToPath } = await importNode('url')
  const folder = fileURLToPath(new URL(`../build/native/${process.platform}-${process.arch}/`, here))
  const file = `${folder}tilegrad.node`
  if (!existsSync(file)) {
    const reason = existsSync(`${folder}reason.txt`)
      ? readFileSync(`${folder}reason.txt`, 'utf8').trim()
      : `no build for ${process.platform}-${process.arch}`
    throw new DeviceError(`native addon not built: ${reason}`)
  }
  try {
    return createRequire(here)(file) as Addon
  } catch (error) {
    throw new DeviceError(`native addon does not load: ${(error as Error).message}`)
  }
}

class NativeEngine implements Engine, MemorySource {
  readonly runtime = 'native'
  readonly threads: number
  readonly kernels: readonly string[]
  readonly ring: CommandRing
  readonly allocator: Allocator
  private readonly addon: AddonEngine
  private readonly copy: number
  private stopped: (() => void) | undefined

  constructor(
    addon: Addon,
    readonly isa: string,
    readonly lanes: number,
    options: EngineOptions,
  ) {
    this.threads = options.threads
    this.kernels = addon.kernels
    this.copy = addon.kernels.indexOf('memory_copy')
    const control = new ArrayBuffer(controlBytes + 64)
    this.addon = new addon.Engine(isa, options.threads, control, (id) => (id === STOPPED ? this.stopped?.() : this.ring.onFence(id)))
    this.ring = new CommandRing({
      wake: () => this.addon.wake(),
      inline: false,
      hold: (waiting) => (waiting ? this.addon.ref() : this.addon.unref()),
    })
    this.ring.attach(control, this.addon.controlOffset)
    this.allocator = new Allocator(this, this.ring, addon.scratchBytes * options.threads, options.maxBytes)
  }

  write(address: number, data: Uint8Array): void {
    this.addon.write(address, data)
  }

  async read(address: number, into: Uint8Array): Promise<void> {
    if (this.ring.idle) {
      this.addon.read(address, into)
      return
    }
    // The executor writes into the array itself, which this frame keeps alive: rejection also comes after the executor has ended.
    this.ring.kernel(this.copy, [this.addon.addressOf(into), address, into.byteLength])
    await this.ring.fence()
  }

  reserve(bytes: number): Block | undefined {
    const address = this.addon.reserve(bytes)
    return address === 0 ? undefined : { address, bytes, lastUse: 0 }
  }

  release(block: Block): void {
    this.ring.release(block.address, block.bytes)
  }

  settle(): void {
    this.addon.waitUntilIdle()
  }

  async dispose(): Promise<void> {
    this.addon.ref()
    const stopped = new Promise<void>((resolve) => {
      this.stopped = resolve
    })
    this.ring.stop()
    await stopped
    this.addon.close()
    this.allocator.close()
    this.ring.fail(disposedError('read'))
  }
}
