import { readFileSync } from 'node:fs'
import { access, mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { flagName, sampleFlags, trainFlags } from './options'
import { run, smallRun } from './testing/cli'

let small: Awaited<ReturnType<typeof smallRun>>
beforeAll(async () => {
  small = await smallRun()
})
afterAll(() => small.remove())

/** The command ends with `code` and one line on standard error. */
async function refuses(args: string[], code: number, message: string | RegExp): Promise<void> {
  const ended = await run(...args)
  expect(ended.stderr).toMatch(message)
  expect(ended.stderr.trimEnd().split('\n'), ended.stderr).toHaveLength(1)
  expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code, stdout: '' })
}

describe('help', () => {
  it('lists every flag of both commands, in groups', async () => {
    const [train, sample] = await Promise.all([run('train', '--help'), run('sample', '--help')])
    for (const key of Object.keys(trainFlags)) expect(train.stdout).toContain(`--${flagName(key)} `)
    for (const key of Object.keys(sampleFlags)) expect(sample.stdout).toContain(`--${flagName(key)} `)
    for (const group of ['Data:', 'Model:', 'Training:', 'Machine:', 'Run:']) expect(train.stdout).toContain(`\n${group}\n`)
    for (const flag of ['--config <file>', '--resume <run>']) expect(train.stdout).toContain(flag)
    expect([train.code, sample.code]).toEqual([0, 0])
  })

  it('is what a bare command shows, as an error', async () => {
    const [bare, help] = await Promise.all([run(), run('--help')])
    expect(help.stdout).toMatch(/train .*\n.*sample/)
    expect({ code: bare.code, text: bare.stderr }).toEqual({ code: 2, text: help.stdout })
  })

  it('tells the version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
    expect(await run('--version')).toMatchObject({ code: 0, stdout: `${version}\n` })
  })
})

describe('wrong options', () => {
  it.each([
    [['train', '--laters', '3'], /unknown option '--laters'.*Did you mean --layers/],
    [['trian'], /unknown command 'trian'.*Did you mean train/],
    [['train', '--context'], /--context <tokens>' argument missing/],
    [['train', 'extra'], /too many arguments/],
    [['train', '--context', 'long'], /--context: expected an integer ≥ 1, got "long"/],
    [['train', '--arch', 'bert'], /--arch: expected one of gpt2, llama, got "bert"/],
    [['train', '--width', '30', '--heads', '4'], /--width must be a multiple of --heads, got 30 and 4/],
    [['train', '--config', 'a.json', '--resume', 'b'], /either --config or --resume/],
    [['train', '--config', '/no/such.json'], /--config: cannot read \/no\/such.json: it does not exist/],
    [['sample'], /missing required argument 'run'/],
    [['sample', '/no/such', '--top-p', '2'], /--top-p: expected a number > 0 and ≤ 1, got 2/],
    [['sample', '/no/such'], /\/no\/such is not the folder of a run: cannot read .*it does not exist/],
    [['train', '--resume', '/no/such'], /\/no\/such is not the folder of a run/],
  ])('%j', (args, message) => refuses(args, 2, message))

  it('are refused in a config file by name', async () => {
    const config = small.path('config.json')
    await writeFile(config, '{"contxt": 5}')
    await refuses(['train', '--config', config], 2, /config\.json: unknown option "contxt"/)
    await writeFile(config, '{"context": -5}')
    await refuses(['train', '--config', config], 2, /config\.json: context: expected an integer ≥ 1, got -5/)
    await writeFile(config, '{"context": ')
    await refuses(['train', '--config', config], 2, /config\.json is not JSON/)
  })
})

describe('bad data', () => {
  const out = () => small.path('never')
  const train = (...args: string[]) => ['train', '--out', out(), ...args]

  it('is refused before anything is written', async () => {
    const [binary, latin, empty, short] = ['binary', 'latin.txt', 'empty', 'short'].map(small.path) as [string, string, string, string]
    await writeFile(binary, new Uint8Array([1, 2, 0, 3]))
    await writeFile(latin, Buffer.from(`caf\xe9 `.repeat(100), 'latin1'))
    await writeFile(empty, '')
    await writeFile(short, 'short text')
    await refuses(train('--data', small.path('none')), 2, /--data: cannot read .*none: it does not exist/)
    await refuses(train('--data', small.folder), 2, /it is a folder; name the files in it/)
    await refuses(train('--data', empty), 2, /empty is empty/)
    await refuses(train('--data', binary), 2, /binary is binary \(byte 0 at offset 2\)/)
    await refuses(train('--data', latin, '--tokenizer', 'char'), 2, /latin\.txt is not UTF-8 text; convert it, or use --tokenizer byte/)
    await refuses(train('--data', short), 2, /the training part has 10 tokens, fewer than one sequence of --context 2048/)
    await refuses(train(...small.flags, '--tokenizer', small.path('none.json')), 1, /none\.json: no such file/)
    await expect(access(out())).rejects.toThrow()
  })
})

describe('a run folder', () => {
  it('is not written over', async () => {
    const folder = small.path('taken')
    await mkdir(folder)
    await writeFile(join(folder, 'thesis.txt'), 'mine')
    await refuses(['train', ...small.flags, '--out', folder], 2, /--out: .*taken is not empty; name a new folder/)
    expect(await readdir(folder)).toEqual(['thesis.txt'])
    await writeFile(join(folder, 'run.json'), '{}')
    await refuses(
      ['train', ...small.flags, '--out', folder],
      2,
      /is not empty; continue that run with --resume .*taken or name a new folder/,
    )
  })

  it('must be writable', async () => {
    await refuses(
      ['train', ...small.flags, '--out', join(small.data, 'run')],
      2,
      /--out: cannot write into .*run: it has a file where a folder/,
    )
  })
})
