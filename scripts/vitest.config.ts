import { fileURLToPath } from 'node:url'
import { defineConfig, mergeConfig } from 'vitest/config'
import { shared } from '../vitest.shared.ts'

/** Tests of the repository as a whole, run from its root. */
export default mergeConfig(
  shared,
  defineConfig({
    test: {
      root: fileURLToPath(new URL('..', import.meta.url)),
      include: ['scripts/*.test.ts'],
      testTimeout: 300_000,
      hookTimeout: 600_000,
    },
  }),
)
