import { fileURLToPath } from 'node:url'
import { build } from 'tsup'

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))

/** Bundles a TypeScript entry with all that it imports, for a page that knows neither TypeScript nor WGSL files, into `folder`. */
export async function bundle(entry: string, folder: string): Promise<void> {
  await build({
    entry: [source(entry)],
    outDir: folder,
    format: ['esm'],
    target: 'es2022',
    platform: 'browser',
    config: false,
    silent: true,
    dts: false,
    splitting: false,
    noExternal: [/.*/],
    loader: { '.wgsl': 'text' },
    esbuildOptions: (options) => {
      options.alias = {
        '@tilegrad/tensor': source('../../tensor/src/index.ts'),
        '@tilegrad/core-math': source('../../core-math/src/index.ts'),
        // Without the half that registers cases with vitest.
        '@tilegrad/testing': source('../../testing/src/cases/index.ts'),
      }
    },
  })
}
