import { library } from '../../tsup.shared'

// The worker is an entry of its own: it is loaded by URL.
export default library({ entry: ['src/index.ts', 'src/wasm-worker.js'], dts: { entry: 'src/index.ts' } })
