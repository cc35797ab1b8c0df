#!/usr/bin/env node
import { program } from './commands'
import { serveOneJob } from './worker'

// Processes of single rows come in here too: see child.ts.
if (process.argv[2] === 'worker' && process.send) serveOneJob()
else {
  await program.parseAsync().catch((error: unknown) => {
    console.error(`bench: ${error instanceof Error ? error.message : error}`)
    process.exitCode = 1
  })
}
