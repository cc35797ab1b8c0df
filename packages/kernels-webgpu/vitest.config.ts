import { mergeConfig } from 'vitest/config'
import { shared } from '../../vitest.shared.ts'
import { noAdapter } from '../../webgpu.shared.ts'
import { wgsl } from './vitest.wgsl.ts'

// Without an adapter only suites start, which then say that they did not run; Chromium brings an adapter of its own.
const include = noAdapter ? ['src/conformance.test.ts', 'src/chromium.test.ts'] : ['src/**/*.test.ts']

export default mergeConfig({ ...shared, test: { ...shared.test, include } }, { plugins: [wgsl] })
