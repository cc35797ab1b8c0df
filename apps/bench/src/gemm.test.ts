import { createReferenceBackend } from '@tilegrad/core-math'
import { describe, expect, it } from 'vitest'
import { checkGemm, gemmShapes } from './gemm'
import { randomNormal } from './random'

describe.each(gemmShapes({ dModel: 16, context: 24, vocabSize: 40 }).slice(1))('the check of $name', (shape) => {
  const { m, n, k, transposeA = false, transposeB = false } = shape
  const backend = createReferenceBackend({ precision: 'f32' })
  const [a, b] = [randomNormal(m * k, 1), randomNormal(k * n, 2)]
  const product = backend.kernels.matmul(backend.tensor(a, transposeA ? [k, m] : [m, k]), backend.tensor(b, transposeB ? [n, k] : [k, n]), {
    transposeA,
    transposeB,
  })

  it('passes the product and fails one that is off', async () => {
    expect(product.shape).toEqual([m, n])
    expect((await checkGemm(a, b, product, shape)).ok).toBe(true)
    expect((await checkGemm(a, b, backend.kernels.scale(product, 1.001), shape)).ok).toBe(false)
  })
})
