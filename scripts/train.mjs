// @ts-check
// npm run train -- [flags of train-gpt train]
import { runApp } from './run-app.mjs'

await runApp('train-gpt', ['train', ...process.argv.slice(2)])
