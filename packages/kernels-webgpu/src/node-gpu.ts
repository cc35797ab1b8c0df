import { DeviceError } from '@tilegrad/tensor'

const isNode = typeof process !== 'undefined' && typeof process.versions?.node === 'string'

/** The part of the npm package `webgpu` that is used. */
interface WebGPUPackage {
  create(options: string[]): GPU
}

/** With and without unsafe APIs. */
const made = new Map<boolean, Promise<GPU>>()

/**
 * The browser's or worker's `navigator.gpu`; in Node, Dawn from the npm package `webgpu`, loaded when it is called for.
 *
 * @param unsafe whether Dawn shall offer experimental features; a browser is told by a flag of its own
 * @throws DeviceError with what to install or enable
 */
export function findGPU({ unsafe = false } = {}): Promise<GPU> {
  const gpu = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu
  if (gpu) return Promise.resolve(gpu)
  if (!isNode) {
    return Promise.reject(
      new DeviceError(
        'createWebGPUBackend: this browser, or this page, has no WebGPU (navigator.gpu): use https or localhost, and a browser with WebGPU',
      ),
    )
  }
  const known = made.get(unsafe)
  if (known) return known
  const making = loadDawn(unsafe).catch((error) => {
    made.delete(unsafe)
    throw error
  })
  made.set(unsafe, making)
  return making
}

async function loadDawn(unsafe: boolean): Promise<GPU> {
  // A specifier that bundlers for browsers cannot see.
  const name = 'webgpu'
  try {
    const { create } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as WebGPUPackage
    // Timestamps in nanoseconds instead of steps of 0.1 ms, which browsers need against attacks by timing.
    return create(['disable-dawn-features=timestamp_quantization', ...(unsafe ? ['enable-dawn-features=allow_unsafe_apis'] : [])])
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new DeviceError(
      [
        `createWebGPUBackend: in Node, WebGPU needs the npm package 'webgpu', which could not be loaded: ${reason.split('\n')[0]}`,
        'Possible fixes:',
        '- install it: npm install webgpu',
        '- pass your own: createWebGPUBackend({ gpu }) or createWebGPUBackend({ device })',
        '- use @tilegrad/kernels-cpu, which needs neither',
      ].join('\n'),
      { cause },
    )
  }
}
