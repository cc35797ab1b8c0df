import { describe, expect, it } from 'vitest'
import { checkGemm, gemmShapes } from './gemm'
import { randomNormal } from './random'

const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

describe.each(gemmShapes({ dModel: 16, context: 24, vocabSize: 40 }).slice(1))('the check of $name ($epilogue)', (shape) => {
  const { m, n, k, transposeA = false, transposeB = false, epilogue } = shape
  const [a, b, bias] = [randomNormal(m * k, 1), randomNormal(k * n, 2), randomNormal(n, 3)]
  // Not the kernel that the check uses: the definition.
  const c = Float32Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n]
    let sum = epilogue ? (bias[j] as number) : 0
    for (let l = 0; l < k; l++) sum += (a[transposeA ? l * m + i : i * k + l] as number) * (b[transposeB ? j * k + l : l * n + j] as number)
    return epilogue === 'bias + GELU' ? gelu(sum) : sum
  })

  it('passes the product and fails one that is off', async () => {
    expect((await checkGemm(a, b, c, shape)).ok).toBe(true)
    expect(
      (
        await checkGemm(
          a,
          b,
          c.map((x) => x * 1.001),
          shape,
        )
      ).ok,
    ).toBe(false)
  })
})

it('has the products that a training step spends its time in', () => {
  const shapes = gemmShapes({ dModel: 16, context: 24, vocabSize: 40 })
  expect(new Set(shapes.map(({ name, epilogue }) => `${name} ${epilogue}`)).size).toBe(shapes.length)
})
