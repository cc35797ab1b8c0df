import { copyFile, mkdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'tsup'

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/**
 * Bundles a TypeScript entry with all that it imports, for a process or a page that knows no TypeScript, into `folder`, with the worker beside it:
 * like dist/, and like it one level below a folder that holds build/.
 */
export async function bundle(entry: string, folder: string, platform: 'node' | 'browser'): Promise<void> {
  await mkdir(folder, { recursive: true })
  await build({
    entry: [source(entry)],
    outDir: folder,
    format: ['esm'],
    target: 'es2022',
    platform,
    config: false,
    silent: true,
    dts: false,
    splitting: false,
    noExternal: [/.*/],
    esbuildOptions: (options) => {
      options.alias = {
        '@tilegrad/tensor': source('../../tensor/src/index.ts'),
        '@tilegrad/core-math': source('../../core-math/src/index.ts'),
        // Without the half that registers cases with vitest.
        '@tilegrad/testing': source('../../testing/src/cases/index.ts'),
      }
    },
  })
  await copyFile(source('./wasm-worker.js'), `${folder}/wasm-worker.js`)
}
