import { ArgumentError, type BackendInfo, DeviceError } from '@tilegrad/tensor'
import { CpuBackend } from './backend'
import type { Engine } from './engine'
import { describeMachine, type Machine } from './machine'
import { createNativeEngine } from './native'
import { createWasmEngine } from './wasm'
import type { WasmIsa } from './wasm-module'

/** Options of createCpuBackend. */
export interface CpuBackendOptions {
  /** `'auto'` (default) takes the native addon and, where there is none, WebAssembly, with the reason in `info.driver`. */
  readonly runtime?: 'auto' | 'native' | 'wasm'
  /** Threads that run kernels. Default: what the machine, or the container's quota, lets run at the same time. Results do not depend on it. */
  readonly threads?: number
  /** Most bytes of memory to hold; more throws OutOfMemoryError. Default: 7/8 of the machine's or the container's memory. WebAssembly ends at 4 GiB. */
  readonly maxBytes?: number
}

/** As createCpuBackend; tests also choose the instruction set. */
export async function createBackend(options: CpuBackendOptions, isa?: string): Promise<CpuBackend> {
  const { runtime = 'auto' } = options
  if (!['auto', 'native', 'wasm'].includes(runtime))
    throw new ArgumentError('createCpuBackend', "runtime must be 'auto', 'native' or 'wasm'", runtime)
  const machine = await describeMachine()
  const threads = options.threads ?? machine.parallelism
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new ArgumentError('createCpuBackend', 'threads must be an integer in 1..256', `${options.threads}`)
  }
  const maxBytes = options.maxBytes ?? machine.memoryBytes * 0.875
  if (!(maxBytes > 0)) throw new ArgumentError('createCpuBackend', 'maxBytes must be > 0', `${maxBytes}`)
  const engineOptions = { threads, maxBytes }

  if (runtime === 'wasm') return backendOf(await createWasmEngine(engineOptions, isa as WasmIsa | undefined), machine)
  try {
    return backendOf(await createNativeEngine(engineOptions, isa), machine)
  } catch (error) {
    if (!(error instanceof DeviceError) || isa !== undefined) throw error
    if (runtime === 'native') throw nativeMissing(error)
    return backendOf(await createWasmEngine(engineOptions), machine, error.message)
  }
}

function backendOf(engine: Engine, { device }: Machine, whyNotNative?: string): CpuBackend {
  const { runtime, isa, threads, note } = engine
  const reason = [whyNotNative, note].filter((text) => text !== undefined).join('; ')
  const info: BackendInfo = {
    name: 'cpu',
    device,
    driver: `${runtime} ${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'}${reason ? ` (${reason})` : ''}`,
    features: { runtime, isa, threads, ...(reason ? { reason } : {}) },
  }
  return new CpuBackend(info, engine)
}

function nativeMissing(error: DeviceError): DeviceError {
  return new DeviceError(
    [
      `createCpuBackend: runtime 'native' is not available: ${error.message}`,
      'Possible fixes:',
      '- build it: npm run build in @tilegrad/kernels-cpu, with a C++ compiler, make and python3 installed',
      '- check that the addon was built for this operating system, processor and C library',
      "- use runtime 'auto' or 'wasm', which need no addon",
    ].join('\n'),
    { cause: error },
  )
}
