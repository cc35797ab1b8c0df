// @ts-check
// npm run bench -- attention|gemm|train [flags]
import { runApp } from './run-app.mjs'

runApp('bench', process.argv.slice(2))
