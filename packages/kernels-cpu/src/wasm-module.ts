import { DeviceError } from '@tilegrad/tensor'
import { importNode, isNode } from './node'

// Node's types do not declare WebAssembly, and those of browsers are not wanted here.
export interface WasmMemory {
  readonly buffer: ArrayBufferLike
  grow(pages: number): number
}
export type WasmModule = object
declare const WebAssembly: {
  validate(bytes: Uint8Array): boolean
  compile(bytes: ArrayBuffer | Uint8Array): Promise<WasmModule>
  Instance: new (module: WasmModule, imports: object) => { readonly exports: object }
  Memory: new (limits: { initial: number; maximum: number; shared: boolean }) => WasmMemory
}

/** What native/wasm.cc exports. */
export interface WasmExports {
  readonly __heap_base: { readonly value: number }
  kernel_count(): number
  kernel_name(index: number): number
  lanes(): number
  scratch_bytes(): number
  init(control: number, scratch: number, threads: number): void
  drain(): void
}

/** `simd128` is the baseline; `relaxed-simd` has a fused multiply-add, whose result may differ between devices in the last bit, never on one device. */
export type WasmIsa = 'relaxed-simd' | 'simd128'

// (module (func (result v128) three times (i8x16.splat (i32.const 0)), then f32x4.relaxed_madd))
const zero = [0x41, 0x00, 0xfd, 0x0f]
const relaxedMultiplyAdd = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x13, 0x01, 0x11, 0x00, ...zero, ...zero, ...zero, 0xfd, 0x85, 0x02, 0x0b],
)

/** The instruction sets that this engine runs, the best first. */
export function wasmIsas(): readonly [WasmIsa, ...WasmIsa[]] {
  return WebAssembly.validate(relaxedMultiplyAdd) ? ['relaxed-simd', 'simd128'] : ['simd128']
}

// Written out in full, so that bundlers find the files.
const urls = {
  'relaxed-simd': {
    threads: () => new URL('../build/wasm/tilegrad-threads-relaxed.wasm', import.meta.url),
    single: () => new URL('../build/wasm/tilegrad-single-relaxed.wasm', import.meta.url),
  },
  simd128: {
    threads: () => new URL('../build/wasm/tilegrad-threads.wasm', import.meta.url),
    single: () => new URL('../build/wasm/tilegrad-single.wasm', import.meta.url),
  },
}

/** Compiles the module for shared memory or the one without threads. @throws DeviceError */
export async function compileModule(isa: WasmIsa, variant: 'threads' | 'single'): Promise<WasmModule> {
  const url = urls[isa][variant]()
  try {
    if (isNode && url.protocol === 'file:') {
      const { readFile } = await importNode('fs/promises')
      return await WebAssembly.compile(await readFile(url))
    }
    const response = await fetch(url)
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return await WebAssembly.compile(await response.arrayBuffer())
  } catch (error) {
    throw new DeviceError(
      `createCpuBackend: the WebAssembly module ${url.pathname.split('/').pop()} does not load (${(error as Error).message}); ` +
        'it must lie in build/wasm of @tilegrad/kernels-cpu (npm run build makes it), and the engine must support WebAssembly SIMD',
      { cause: error },
    )
  }
}

/** An instance of the module for this thread. */
export function instantiate(module: WasmModule, memory: WasmMemory, fence: (id: number) => void): WasmExports {
  const env = { memory, fence, milliseconds: () => performance.now() }
  return new WebAssembly.Instance(module, { env }).exports as WasmExports
}

/** Linear memory for it, of up to 4 GiB, or less where the engine does not give as much address space. */
export function createMemory(shared: boolean): WasmMemory {
  // One page short of 4 GiB, so that the end of an array is still an address.
  const maxima = [65535, 32768, 16384]
  for (const maximum of maxima) {
    try {
      return new WebAssembly.Memory({ initial: 64, maximum, shared })
    } catch (error) {
      if (maximum === maxima.at(-1)) throw new DeviceError(`createCpuBackend: no memory for WebAssembly: ${(error as Error).message}`)
    }
  }
  throw new DeviceError('createCpuBackend: no memory for WebAssembly')
}

/** Names of the kernels in the order of their table. */
export function kernelNames(exports: WasmExports, memory: WasmMemory): string[] {
  const bytes = new Uint8Array(memory.buffer)
  return Array.from({ length: exports.kernel_count() }, (_, index) => {
    const start = exports.kernel_name(index)
    return String.fromCharCode(...bytes.slice(start, bytes.indexOf(0, start)))
  })
}
