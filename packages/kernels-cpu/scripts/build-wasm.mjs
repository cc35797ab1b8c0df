// @ts-check
// Builds the WebAssembly modules with the compiler from npm: build/wasm/tilegrad-threads.wasm (shared memory) and
// build/wasm/tilegrad-single.wasm, and each of them with the fused multiply-add of relaxed SIMD. Skipped if nothing that goes in has changed.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { lock } from './build-lock.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const native = join(root, 'native')
const out = join(root, 'build', 'wasm')
const hashFile = join(out, 'inputs.sha256')

const compileFlags = [
  '--target=wasm32-unknown-unknown',
  '-std=c++17',
  '-O3',
  '-ffp-contract=fast',
  '-fno-math-errno',
  '-fno-trapping-math',
  '-fno-exceptions',
  '-fno-rtti',
  '-fno-threadsafe-statics',
  '-fvisibility=hidden',
  '-nostdinc++',
  '-Iwasm-libc',
  '-msimd128',
  '-mbulk-memory',
  '-mmutable-globals',
  // Loop strength reduction gives each load of a register tile its own address, an addition per load; without it they are offsets in the instructions.
  '-mllvm',
  '-disable-lsr',
  '-Wall',
  '-DTILEGRAD_TARGET=wasm',
]
const linkFlags = [
  '-nostdlib',
  '-Wl,--no-entry',
  '-Wl,--import-memory',
  '-Wl,--max-memory=4294967296',
  '-Wl,--export=__heap_base',
  '-Wl,-z,stack-size=262144',
  '-Wl,--strip-all',
]
// The kernels are compiled once per instruction set and linked twice: atomic instructions work on memory that is not shared, too.
const isas = [
  { suffix: '', flags: [] },
  { suffix: '-relaxed', flags: ['-mrelaxed-simd'] },
]
const variants = [
  { name: 'tilegrad-threads', flags: ['-matomics', '-Wl,--shared-memory', '-Wl,--export=__stack_pointer'] },
  { name: 'tilegrad-single', flags: [] },
]
const moduleFile = (/** @type {string} */ name, /** @type {string} */ suffix) => `${name}${suffix}.wasm`

mkdirSync(out, { recursive: true })
const unlock = lock(join(root, 'build', '.wasm-lock'))
try {
  await build()
} finally {
  unlock()
}

async function build() {
  const sources = readSources()
  const hash = hashOf(sources)
  const isBuilt = isas.every(({ suffix }) => variants.every(({ name }) => existsSync(join(out, moduleFile(name, suffix)))))
  if (isBuilt && existsSync(hashFile) && readFileSync(hashFile, 'utf8') === hash) return
  const { runClang } = await import('@yowasp/clang')
  await runClang(undefined, {}, { fetchProgress: () => {} }) // loads the compiler without its progress messages
  /** @returns {Promise<Uint8Array>} what the compiler writes into `file` */
  async function clang(/** @type {string[]} */ args, /** @type {Record<string, any>} */ inputs, /** @type {string} */ file) {
    const result = await runClang(['clang++', ...args, '-o', file], inputs, { stdout: print, stderr: print })
    return /** @type {Record<string, Uint8Array>} */ (result)[file]
  }
  rmSync(hashFile, { force: true })
  for (const isa of isas) {
    const kernels = await clang(['-c', 'kernels-target.cc', ...compileFlags, '-matomics', ...isa.flags], sources, 'kernels.o')
    for (const { name, flags } of variants) {
      const file = moduleFile(name, isa.suffix)
      const args = ['wasm.cc', 'kernels.o', ...compileFlags, ...isa.flags, ...flags, ...linkFlags]
      const module = await clang(args, { ...sources, 'kernels.o': kernels }, file)
      const aside = join(out, `${file}.${process.pid}`)
      writeFileSync(aside, module)
      renameSync(aside, join(out, file))
    }
  }
  writeFileSync(hashFile, hash)
}

/** @returns {Record<string, any>} native/ as the compiler's file tree */
function readSources() {
  const isSource = (/** @type {string} */ name) => name.endsWith('.h') || name === 'kernels-target.cc' || name === 'wasm.cc'
  const read = (/** @type {string} */ folder) =>
    Object.fromEntries(
      readdirSync(folder)
        .filter(isSource)
        .sort()
        .map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
    )
  return { ...read(native), 'wasm-libc': read(join(native, 'wasm-libc')) }
}

/** @param {Record<string, any>} sources */
function hashOf(sources) {
  const recipe = readFileSync(fileURLToPath(import.meta.url), 'utf8')
  const compiler = readFileSync(new URL('package.json', import.meta.resolve('@yowasp/clang').replace('/gen/', '/')), 'utf8')
  return createHash('sha256')
    .update(JSON.stringify([sources, recipe, compiler]))
    .digest('hex')
}

/** @param {Uint8Array | null} bytes */
function print(bytes) {
  if (bytes) process.stderr.write(bytes)
}
