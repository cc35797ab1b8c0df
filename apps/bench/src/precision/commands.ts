import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Command, Option } from 'commander'
import { integer, integers } from '../flags'
import { type ErrorOptions, measureErrors } from './errors'
import { type LossOptions, measureLossCurves } from './loss-curves'
import { writePrecision } from './report'
import { measureSources } from './sources'

type ErrorFlags = Pick<ErrorOptions, 'headDim' | 'causal'> & {
  seqlen: number[]
  logitScale: number[]
  backend: 'native' | 'wasm'
  json: string
}
type LossFlags = LossOptions & { backend: 'native' | 'wasm'; json: string }
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

  program
    .command('loss-curves')
    .description('training loss of a small GPT with flash and with standard attention, from one seed')
    .option('--steps <n>', 'training steps', integer, 200)
    .option('--context <n>', 'bytes per sequence', integer, 512)
    .option('--batch-size <n>', 'sequences per step', integer, 4)
    .option('--d-model <n>', 'width', integer, 128)
    .option('--n-layers <n>', 'layers', integer, 4)
    .option('--n-heads <n>', 'heads', integer, 4)
    .option('--lr <x>', 'highest learning rate', Number, 3e-3)
    .addOption(new Option('--backend <name>', 'where kernels run').choices(['native', 'wasm']).default('native'))
    .option('--json <file>', 'where the results go', 'runs/bench/loss-curves.json')
    .action(async ({ backend, json, ...options }: LossFlags) => write(json, await measureLossCurves(options, backend)))

  program
    .command('precision-report')
    .description('plots and tables of docs/precision.md from the JSON of precision, precision-sources and loss-curves')
    .option('--errors <file>', 'results of precision', 'runs/bench/precision.json')
    .option('--sources <file>', 'results of precision-sources', 'runs/bench/precision-sources.json')
    .option('--losses <file>', 'results of loss-curves', 'runs/bench/loss-curves.json')
    .option('--out <folder>', 'where precision.md and plots/ are', 'docs')
    .action(({ out, errors, sources, losses }: Record<'out' | 'errors' | 'sources' | 'losses', string>) =>
      writePrecision({ errors: read(errors), sources: read(sources), losses: read(losses) }, out),
    )
}

function write(json: string, report: object): void {
  mkdirSync(dirname(json), { recursive: true })
  writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`\nWritten to ${json}`)
}

function read<Report>(json: string): Report {
  return JSON.parse(readFileSync(json, 'utf8')) as Report
}
