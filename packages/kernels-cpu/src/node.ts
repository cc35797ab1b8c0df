/** Node's own modules, loaded only in Node: a specifier that bundlers for browsers cannot see. */
interface NodeModules {
  fs: typeof import('node:fs')
  'fs/promises': typeof import('node:fs/promises')
  module: typeof import('node:module')
  os: typeof import('node:os')
  url: typeof import('node:url')
  worker_threads: typeof import('node:worker_threads')
}

export const isNode = typeof process !== 'undefined' && typeof process.versions?.node === 'string'

export function importNode<Name extends keyof NodeModules>(name: Name): Promise<NodeModules[Name]> {
  return import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`)
}
