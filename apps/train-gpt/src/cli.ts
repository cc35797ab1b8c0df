#!/usr/bin/env node
import { readFile } from 'node:fs/promises'
import { Command, CommanderError, Option } from 'commander'
import { describeError, describeFileError, isFileError, UsageError } from './errors'
import {
  checkConfig,
  checkValues,
  completeSampleOptions,
  completeTrainOptions,
  defaultOf,
  type Flag,
  flagName,
  fromText,
  sampleFlags,
  trainFlags,
} from './options'
import { parseJson } from './run-folder'

type Flags = Readonly<Record<string, Flag>>

const EXAMPLES = `
Examples:
  train-gpt train                                     learn TypeScript's own declaration files in five minutes
  train-gpt train --data a.txt b.txt --context 8192   longer sequences of your own text
  train-gpt train --config run.json --seed 2          options from a file; flags win
  train-gpt train --resume runs/20250131-120000       go on where a run was stopped
  train-gpt sample runs/20250131-120000               write text with what it learned

Ctrl-C finishes the step, saves and ends; a second one quits at once.
Exit codes: 0 done or stopped and saved, 1 the run failed, 2 a wrong option or unusable data.`

function addFlags(command: Command, flags: Flags): Command {
  for (const [key, flag] of Object.entries(flags)) {
    const name = `--${flagName(key)}`
    const option = new Option(flag.kind === 'toggle' ? name : `${name} <${flag.argument}>`, flag.description).helpGroup(flag.group)
    const fallback = defaultOf(flag)
    if (flag.kind === 'toggle') {
      command.addOption(option)
      command.addOption(new Option(`--no-${flagName(key)}`, `not, where a config file says so`).helpGroup(flag.group).hideHelp())
      continue
    }
    if (fallback !== undefined) option.description += ` (default: ${fallback})`
    command.addOption(
      option.argParser((text: string, before: unknown) =>
        flag.kind === 'list' ? [...((before as string[]) ?? []), text] : fromText(flag, text),
      ),
    )
  }
  return command
}

/** The options of `flags` that were given on the command line, checked. */
function given(flags: Flags, command: Command): Record<string, unknown> {
  const entries = Object.entries(command.opts()).filter(([key]) => key in flags && command.getOptionValueSource(key) === 'cli')
  return checkValues(flags, Object.fromEntries(entries), 'flag')
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw isFileError(error) ? new UsageError(`--config: ${describeFileError('read', path, error)}`) : error
  })
  return checkConfig(trainFlags, parseJson(text, path), path)
}

async function trainCommand(command: Command): Promise<void> {
  const { config, resume } = command.opts<{ config?: string; resume?: string }>()
  if (config !== undefined && resume !== undefined)
    throw new UsageError('--config: a resumed run has its own options; give either --config or --resume')
  const flags = given(trainFlags, command)
  const { resumeRun, runTraining, startRun } = await import('./commands')
  const request =
    resume === undefined
      ? await startRun(completeTrainOptions({ ...(config === undefined ? {} : await readConfig(config)), ...flags }))
      : await resumeRun(resume, flags)
  await runTraining(request)
}

async function sampleCommand(run: string, command: Command): Promise<void> {
  const options = completeSampleOptions(given(sampleFlags, command))
  const { runSampling } = await import('./commands')
  await runSampling(run, options)
}

/** The command line. Compute packages load when a command runs, so that help and refusals come at once. */
export function createProgram(version: string): Command {
  const program = new Command('train-gpt')
    .description('Train a small GPT on long sequences with exact tiled attention, and write text with it.')
    .version(version)
    .showSuggestionAfterError()
    .addHelpText('after', EXAMPLES)
  const train = addFlags(program.command('train').description('train a model, or continue training one'), trainFlags)
    .addOption(new Option('--config <file>', 'JSON file whose keys are these flags, e.g. {"context": 8192}; flags win').helpGroup('Run:'))
    .addOption(new Option('--resume <run>', 'continue the run in this folder, or from one of its checkpoints').helpGroup('Run:'))
    .addHelpText('after', EXAMPLES)
  train.action(() => trainCommand(train))
  const sample = addFlags(program.command('sample').description('write text with the latest checkpoint of a run'), sampleFlags).argument(
    '<run>',
    'folder of a run, or one of its checkpoints',
  )
  sample.action((run: string) => sampleCommand(run, sample))
  for (const command of [program, train, sample]) {
    command.exitOverride().configureOutput({ outputError: () => undefined })
  }
  return program
}

async function main(): Promise<void> {
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  const program = createProgram(version)
  try {
    await program.parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return
      if (error.code === 'commander.help') {
        process.exitCode = 2
        return
      }
    }
    const usage = error instanceof CommanderError ? new UsageError(`${error.message.replace(/^error: /, '')}; see train-gpt --help`) : error
    const { message, exitCode } = describeError(usage)
    process.stderr.write(`train-gpt: ${message}\n`)
    process.exitCode = exitCode
  }
}

// A reader such as `head` that has seen enough is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
}
await main()
