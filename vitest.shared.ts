import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

/** Imports `.wgsl` files as text, as tsup does for the package. */
const wgsl = {
  name: 'wgsl-as-text',
  transform(text: string, id: string) {
    return id.endsWith('.wgsl') ? { code: `export default ${JSON.stringify(text)}`, map: null } : undefined
  },
}

/** Tests run against the sources of every workspace package, so that no build is stale. */
export const shared = defineConfig({
  plugins: [wgsl],
  resolve: {
    alias: [
      {
        find: '@tilegrad/testing/cases',
        replacement: fileURLToPath(new URL('./packages/testing/src/cases/index.ts', import.meta.url)),
      },
      {
        find: /^@tilegrad\/([a-z-]+)$/,
        replacement: `${fileURLToPath(new URL('./packages/', import.meta.url))}$1/src/index.ts`,
      },
    ],
  },
  test: {
    include: ['src/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    passWithNoTests: false,
    reporters: ['default', ['json', { outputFile: 'reports/vitest.json' }]],
  },
})
