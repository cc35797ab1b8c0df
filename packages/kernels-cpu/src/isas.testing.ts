import { setFlagsFromString } from 'node:v8'
import { nativeIsas } from './native'
import { wasmIsas } from './wasm-module'

// Node 20 has relaxed SIMD behind a flag, which holds for the process and its workers.
if (!wasmIsas().includes('relaxed-simd')) setFlagsFromString('--experimental-wasm-relaxed-simd')

/** Every set of kernels that runs here, also those that a backend does not choose by itself. */
export const allIsas = [
  ...(await nativeIsas()).map((isa) => ({ runtime: 'native' as const, isa })),
  ...wasmIsas().map((isa) => ({ runtime: 'wasm' as const, isa })),
]
