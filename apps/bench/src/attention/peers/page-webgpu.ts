import { powerPreference } from '../../webgpu/backend'
import { load } from './load'

interface Dawn {
  create(options: readonly string[]): GPU
  readonly globals: { readonly GPUQueue: { readonly prototype: GPUQueue } }
}

/**
 * Makes this process look like a page with WebGPU, for libraries that know no other: `navigator.gpu` of Dawn, which is what our backend runs on
 * here, and the constants that pages have. Returns the name of the adapter that they get.
 */
export async function provideWebGPU(): Promise<string> {
  const { create, globals } = await load<Dawn>('webgpu')
  Object.assign(globalThis, globals)
  takeSharedMemory(globals.GPUQueue.prototype)
  const gpu = create([])
  const navigator = { gpu, userAgent: 'Node', hardwareConcurrency: 1, language: 'en' }
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
  const adapter = await gpu.requestAdapter({ powerPreference })
  if (!adapter) throw new Error('WebGPU found no adapter')
  const { vendor, architecture, device, description } = adapter.info
  return [vendor, architecture, description || device].filter(Boolean).join(' ')
}

/** Pages may write from memory that threads share, as that of onnxruntime's WebAssembly is; Dawn's binding for Node wants its own. */
function takeSharedMemory(queue: GPUQueue): void {
  const { writeBuffer } = queue
  queue.writeBuffer = function (this: GPUQueue, buffer, offset, data, ...range) {
    const shared = data instanceof Uint8Array && data.buffer instanceof SharedArrayBuffer
    return writeBuffer.call(this, buffer, offset, shared ? Uint8Array.from(data) : data, ...range)
  }
}
