import { shared } from '../../vitest.shared.ts'
import { noAdapter } from '../../webgpu.shared.ts'

// Without an adapter only suites start, which then say that they did not run; Chromium brings an adapter of its own.
const include = noAdapter ? ['src/conformance.test.ts', 'src/chromium.test.ts'] : ['src/**/*.test.ts']

export default { ...shared, test: { ...shared.test, include } }
