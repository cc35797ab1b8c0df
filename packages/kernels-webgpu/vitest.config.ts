import { mergeConfig } from 'vitest/config'
import { shared } from '../../vitest.shared.ts'
import { wgsl } from './vitest.wgsl.ts'

export default mergeConfig(shared, { plugins: [wgsl] })
