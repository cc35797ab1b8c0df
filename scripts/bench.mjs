// @ts-check
// npm run bench [-- all|attention|gemm|train|memory|precision|report] [flags]
import { runApp } from './run-app.mjs'

await runApp('bench', process.argv.slice(2))
