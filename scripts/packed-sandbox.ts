import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import ts from 'typescript'
import { run } from './packages.mjs'
import { root } from './paths.mjs'

/** An empty project outside the repository into which tarballs are installed, as a user would have it. */
export class PackedSandbox {
  readonly folder = mkdtempSync(join(tmpdir(), 'tilegrad-pack-'))
  readonly #installed: Record<string, string> = {}

  /** Installs tarballs by name. Third-party dependencies come from the registry, `@tilegrad/*` only from what is given. */
  install(tarballs: Record<string, string>): void {
    for (const [name, tarball] of Object.entries(tarballs)) this.#installed[name] = `file:${tarball}`
    this.write('package.json', JSON.stringify({ name: 'sandbox', private: true, type: 'module', dependencies: this.#installed }))
    this.#expectSuccess('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', '--no-package-lock'])
  }

  has(name: string): boolean {
    return name in this.#installed
  }

  write(file: string, contents: string): void {
    mkdirSync(join(this.folder, file, '..'), { recursive: true })
    writeFileSync(join(this.folder, file), contents)
  }

  /** Strips the types of an example and runs it; returns what it printed. */
  runExample(name: string, code: string): string {
    const { outputText } = ts.transpileModule(code, { compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext } })
    this.write(`${name}.mjs`, outputText)
    return this.#expectSuccess(process.execPath, [`${name}.mjs`])
  }

  /** Runs a command line that an installed package brings. */
  runBin(name: string, args: string[]): string {
    return this.#expectSuccess(join(this.folder, 'node_modules/.bin', name), args)
  }

  /** Type-checks files against the packed declarations, with the resolution of Node and with that of bundlers. */
  typecheck(files: string[]): void {
    for (const [module, moduleResolution] of [
      ['node16', 'node16'],
      ['esnext', 'bundler'],
    ]) {
      const compilerOptions = {
        target: 'es2022',
        lib: ['es2022', 'esnext.disposable', 'dom'],
        module,
        moduleResolution,
        strict: true,
        noEmit: true,
        types: ['node'],
        typeRoots: [join(root, 'node_modules/@types')],
      }
      this.write('tsconfig.json', JSON.stringify({ compilerOptions, files }))
      this.#expectSuccess(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'])
    }
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  #expectSuccess(command: string, args: string[]): string {
    const { status, stdout, stderr, error } = run(command, args, this.folder)
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} exited with ${status ?? error?.message}:\n${stdout}${stderr}`)
    return stdout
  }
}
