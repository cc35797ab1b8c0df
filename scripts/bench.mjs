// @ts-check
// npm run bench -- attention|gemm|train [flags]
import { runApp } from './run-app.mjs'

await runApp('bench', process.argv.slice(2))
