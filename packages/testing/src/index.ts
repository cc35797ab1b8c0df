export * from './cases'
export { testBackend, testDeterminism } from './vitest'
