// @ts-check
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')

/** Workspace folders relative to the repository: `packages/tensor`, `apps/train-gpt`, … */
export const workspaces = ['packages', 'apps'].flatMap((group) =>
  readdirSync(join(root, group), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && readdirSync(join(root, group, entry.name)).includes('package.json'))
    .map((entry) => `${group}/${entry.name}`),
)
