import { defineConfig, type Options } from 'tsup'

/** One ESM entry with types and source maps: the shape of every published package. */
export const library = (overrides: Options = {}) =>
  defineConfig({
    entry: ['src/index.ts'],
    format: ['esm'],
    target: 'es2022',
    dts: true,
    sourcemap: true,
    clean: true,
    treeshake: true,
    tsconfig: 'tsconfig.build.json',
    ...overrides,
  })
