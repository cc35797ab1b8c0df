import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, normalize, relative } from 'node:path'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { declareSuite } from '../suite.shared'
import { type Manifest, packAll, publishable, readManifest } from './packages.mjs'
import { PackedSandbox } from './packed-sandbox'
import { root } from './paths.mjs'
import { readExamples } from './readme-examples.mjs'
import { toolchainEnvironment } from './toolchain.mjs'

declareSuite('pack')

const own = '@tilegrad/'
const manifests = new Map(publishable.map(({ manifest }) => [manifest.name, manifest]))

let tarballFolder: string
let packed: Map<string, ReturnType<typeof packAll>[number]>
let sandbox: PackedSandbox

beforeAll(() => {
  tarballFolder = mkdtempSync(join(tmpdir(), 'tilegrad-tarballs-'))
  packed = new Map(packAll(tarballFolder).map((pack) => [pack.name, pack]))
})
afterAll(() => rmSync(tarballFolder, { recursive: true, force: true }))

/** The package itself and the @tilegrad packages that it declares, and those that they declare. */
function closure(name: string, found = new Set<string>()): Set<string> {
  if (found.has(name)) return found
  found.add(name)
  for (const dependency of Object.keys(manifests.get(name)?.dependencies ?? {})) if (dependency.startsWith(own)) closure(dependency, found)
  return found
}

/** What a package is entered by: its module and its types, its commands. A package without commands has a module. */
function entryFiles({ exports, bin }: Manifest): string[] {
  const entry = exports?.['.']
  if (entry || !bin) return [entry.types, entry.default, ...Object.values(bin ?? {})].map(normalize)
  return Object.values(bin).map(normalize)
}

const tarballsOf = (names: Iterable<string>) =>
  Object.fromEntries([...names].map((name) => [name, packed.get(name)?.tarball ?? 'not packed']))

/** `@scope/name` or `name` of every package that a file imports, without Node's own modules. */
function importedPackages(code: string): string[] {
  return ts
    .preProcessFile(code)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((specifier) => !/^[./#]|^node:/.test(specifier) && !builtinModules.includes(specifier))
    .map((specifier) => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/'))
}

/** Installs what the examples import beyond what is there, then type-checks and runs each. */
function runExamples(examples: string[]): void {
  const missing = examples.flatMap(importedPackages).filter((name) => name.startsWith(own) && !sandbox.has(name))
  if (missing.length > 0) sandbox.install(tarballsOf(missing.flatMap((name) => [...closure(name)])))
  const names = examples.map((_code, i) => `example-${i + 1}`)
  for (const [i, code] of examples.entries()) sandbox.write(`${names[i]}.ts`, `${code}\nexport {}\n`)
  sandbox.typecheck(names.map((name) => `${name}.ts`))
  for (const [i, code] of examples.entries()) sandbox.runExample(names[i] ?? '', code)
}

describe.each(publishable.map(({ folder, manifest }) => ({ name: manifest.name, folder })))('$name, packed', ({ name, folder }) => {
  let installed: string

  beforeAll(() => {
    sandbox = new PackedSandbox()
    installed = join(sandbox.folder, 'node_modules', name)
    sandbox.install(tarballsOf(closure(name)))
  })
  afterAll(() => sandbox.dispose())

  it('declares exports with types, files, no side effects and no install script', () => {
    const manifest = readManifest(installed)
    for (const file of entryFiles(manifest)) expect(existsSync(join(installed, file)), file).toBe(true)
    expect(manifest.files).toContain('dist')
    expect(manifest.sideEffects).toBe(false)
    for (const script of ['preinstall', 'install', 'postinstall', 'prepare', 'prepack']) expect(manifest.scripts).not.toHaveProperty(script)
    // npm runs node-gyp by itself for a binding.gyp at the root.
    expect(existsSync(join(installed, 'binding.gyp')) && manifest.gypfile !== false).toBe(false)
  })

  it('holds what runs and nothing else', () => {
    const files = packed.get(name)?.files ?? []
    expect(files).toEqual(expect.arrayContaining(['package.json', 'README.md', 'LICENSE', ...entryFiles(readManifest(installed))]))
    expect(files.filter((file) => /[.]test[.]|fixtures|tsconfig|tsup|vitest|node_modules|[.]turbo|reports/.test(file))).toEqual([])
    for (const map of files.filter((file) => file.endsWith('.map'))) {
      const { sources, sourcesContent = [] } = JSON.parse(readFileSync(join(installed, map), 'utf8'))
      const absent = sources.filter(
        (source: string, i: number) =>
          sourcesContent[i] == null && !files.includes(relative(installed, join(installed, dirname(map), source))),
      )
      expect(absent, map).toEqual([])
    }
  })

  it('imports only what it declares', () => {
    const { dependencies, peerDependencies, optionalDependencies } = readManifest(installed)
    const declared = [name, ...Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })]
    const code = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' }).filter((file) =>
      /[.](js|mjs|d[.]ts)$/.test(file),
    )
    const imported = new Set(code.flatMap((file) => importedPackages(readFileSync(join(installed, 'dist', file), 'utf8'))))
    expect([...imported].filter((dependency) => !declared.includes(dependency))).toEqual([])
  })

  const manifest = manifests.get(name)
  if (manifest?.exports?.['.']) {
    it('can be imported with its declared dependencies alone', () => {
      sandbox.runExample('import', `import * as all from '${name}'\nif (Object.keys(all).length === 0) throw new Error('exports nothing')`)
    })
  }
  for (const bin of Object.keys(manifest?.bin ?? {})) {
    it(`brings the command ${bin}, which runs with its declared dependencies alone`, () => {
      expect(sandbox.runBin(bin, ['--help'])).toContain(bin)
    })
  }

  it('has a README whose examples type-check and run', () => {
    const examples = readExamples(join(root, folder, 'README.md'))
    if (!manifest?.bin) expect(examples.length, 'number of ```ts examples').toBeGreaterThan(0)
    if (examples.length > 0) runExamples(examples)
  })

  if (name === '@tilegrad/kernels-cpu') {
    it('brings its WASM and, where a compiler built it, its native addon', () => {
      const files = packed.get(name)?.files ?? []
      expect(files.filter((file) => file.endsWith('.wasm')).length).toBeGreaterThan(0)
      const built = toolchainEnvironment().TILEGRAD_TOOLCHAIN !== 'none'
      expect(files.some((file) => file.endsWith('.node'))).toBe(built)
    })
  }
})

describe('the README of the repository', () => {
  beforeAll(() => {
    sandbox = new PackedSandbox()
  })
  afterAll(() => sandbox.dispose())

  it('has examples that type-check and run', () => {
    const examples = readExamples(join(root, 'README.md'))
    expect(examples.length).toBeGreaterThan(0)
    runExamples(examples)
  })
})
