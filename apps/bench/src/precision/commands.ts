import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Command, Option } from 'commander'
import { integer, integers } from '../flags'
import { type ErrorOptions, measureErrors } from './errors'
import { measureSources } from './sources'

type ErrorFlags = Pick<ErrorOptions, 'headDim' | 'causal'> & {
  seqlen: number[]
  logitScale: number[]
  backend: 'native' | 'wasm'
  json: string
}
type SourceFlags = { seqlen: number; headDim: number; logitScale: number[]; json: string }

/** precision, precision-sources, loss-curves and precision-report. */
export function addPrecisionCommands(program: Command): void {
  program
    .command('precision')
    .description('errors of flash, standard and naive attention against float64, over N and logit scale')
    .option('--seqlen <list>', 'sequence lengths, N', integers, [128, 256, 512, 1024, 2048, 4096, 8192, 16384])
    .option('--logit-scale <list>', 'standard deviations of the scores', integers, [1, 4, 16, 64])
    .option('--head-dim <n>', 'head dimension, D', integer, 64)
    .addOption(new Option('--backend <name>', 'where kernels run').choices(['native', 'wasm']).default('native'))
    .option('--causal', 'causal instead of full', false)
    .option('--json <file>', 'where the results go', 'runs/bench/precision.json')
    .action(async ({ seqlen, logitScale, backend, json, ...options }: ErrorFlags) =>
      write(json, await measureErrors({ ...options, seqlens: seqlen, logitScales: logitScale, runtime: backend })),
    )

  program
    .command('precision-sources')
    .description('which rounding makes which error of the gradients: float64 attention with one quantity at a time in float32')
    .option('--seqlen <n>', 'sequence length, N', integer, 512)
    .option('--head-dim <n>', 'head dimension, D', integer, 64)
    .option('--logit-scale <list>', 'standard deviations of the scores', integers, [1, 4, 16, 64])
    .option('--json <file>', 'where the results go', 'runs/bench/precision-sources.json')
    .action(({ logitScale, json, ...options }: SourceFlags) => write(json, measureSources({ ...options, logitScales: logitScale })))
}

function write(json: string, report: object): void {
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`\nWritten to ${json}`)
}
