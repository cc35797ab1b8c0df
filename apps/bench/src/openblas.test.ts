import { expect, it } from 'vitest'
import { coreTypeOf } from './openblas'

it('asks OpenBLAS for kernels of the widest vectors that the processor has', () => {
  const avx2 = ['sse', 'avx', 'avx2', 'fma']
  expect(coreTypeOf([...avx2, 'avx512f', 'avx512dq', 'avx512bw', 'avx512vl'])).toBe('SkylakeX')
  expect(coreTypeOf([...avx2, 'avx512f'])).toBe('Haswell')
  expect(coreTypeOf(['sse', 'avx'])).toBeUndefined()
})
