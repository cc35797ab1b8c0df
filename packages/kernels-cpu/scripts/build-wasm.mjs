// @ts-check
// Builds the WebAssembly modules with the compiler from npm: build/wasm/tilegrad-threads.wasm (shared memory) and
// build/wasm/tilegrad-single.wasm. Skipped if nothing that goes in has changed.
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
  '-Wall',
  '-DTILEGRAD_TARGET=simd128',
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
const variants = [
  { name: 'tilegrad-threads', compile: ['-matomics'], link: ['-Wl,--shared-memory', '-Wl,--export=__stack_pointer'] },
  { name: 'tilegrad-single', compile: [], link: [] },
]

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
  const isBuilt = variants.every(({ name }) => existsSync(join(out, `${name}.wasm`)))
  if (isBuilt && existsSync(hashFile) && readFileSync(hashFile, 'utf8') === hash) return
  const { runClang } = await import('@yowasp/clang')
  await runClang(undefined, {}, { fetchProgress: () => {} }) // loads the compiler without its progress messages
  rmSync(hashFile, { force: true })
  for (const { name, compile, link } of variants) {
    const file = `${name}.wasm`
    const args = ['clang++', 'kernels-target.cc', 'wasm.cc', ...compileFlags, ...compile, ...linkFlags, ...link, '-o', file]
    const result = /** @type {Record<string, unknown>} */ (await runClang(args, sources, { stdout: print, stderr: print }))
    const aside = join(out, `${file}.${process.pid}`)
    writeFileSync(aside, /** @type {Uint8Array} */ (result[file]))
    renameSync(aside, join(out, file))
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
