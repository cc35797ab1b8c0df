// Uses a backend and neither disposes of it nor calls process.exit(): the process must end by itself.
import { createCpuBackend } from './index'

const [, , runtime, threads] = process.argv
const backend = await createCpuBackend({ runtime: runtime as 'native' | 'wasm' | 'auto', threads: Number(threads) })
const x = backend.tensor([1, 2, 3], [3])
const pending = backend.kernels.add(x, x).read()
backend.zeros([1 << 20])
console.log(JSON.stringify({ sum: Array.from(await pending), driver: backend.info.driver, reason: backend.info.features.reason }))
