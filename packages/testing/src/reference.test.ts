import { createReferenceBackend } from '@tilegrad/core-math'
import { testBackend } from './vitest'

// The suite's own baseline must pass it, or no backend could.
testBackend('reference f32', async () => createReferenceBackend({ precision: 'f32' }))
