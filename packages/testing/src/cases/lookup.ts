import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase } from '../kernel-case'
import { same } from './matmul'
import type { Sizes } from './sizes'

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)

/** Embedding and rotary embedding. */
export function lookupCases(sizes: Sizes): KernelCase[] {
  const layouts: Layout[] = ['contiguous', 'padded', 'permuted']
  const embeddings: (readonly [readonly number[], number, number])[] = [
    [[], 3, 5],
    [[1], 1, 1],
    [[7], 5, 16],
    [[2, 33], 11, 65],
    [[0, 4], 3, 8],
    [[5, 3], 50, 0],
    ...(sizes === 'full' ? [[[4, 257], 300, 100] as const] : []),
  ]
  const ropes: (readonly [readonly number[], number, number])[] = [
    [[1, 1, 1, 2], 2, 0],
    [[2, 9, 3, 40], 40, 0],
    [[2, 9, 3, 40], 24, 5],
    [[1, 33, 2, 7], 6, 1],
    [[1, 5, 2, 64], 0, 0],
    [[2, 0, 3, 8], 8, 0],
    [[1, 70, 4, 128], 128, 1000],
  ]
  return [
    ...embeddings.flatMap(([tokens, vocabSize, channels]) =>
      layouts.slice(0, 2).map((layout) => embedding(tokens, vocabSize, channels, layout)),
    ),
    ...ropes.flatMap(([shape, rotaryDim, positionOffset]) => layouts.map((layout) => rope(shape, rotaryDim, positionOffset, layout))),
  ]
}

function embedding(tokens: readonly number[], vocabSize: number, channels: number, layout: Layout): KernelCase {
  const shape = [...tokens, channels]
  return kernelCase(
    'embedding',
    `tokens [${tokens.join(', ')}] weight [${vocabSize}, ${channels}] ${layout}`,
    (random) => ({
      // Some tokens are outside the vocabulary on either side: they read as zeros and have no gradient.
      tokens: host(
        tokens,
        Int32Array.from({ length: size(tokens) }, () => random.integer(-1, vocabSize)),
        { layout },
      ),
      weight: host([vocabSize, channels], random.normals(vocabSize * channels), { layout }),
      dout: host(shape, random.normals(size(shape)), { layout }),
      accumulateInto: target([vocabSize, channels], random.normals(vocabSize * channels)),
    }),
    ({ kernels }, { tokens, weight, dout, accumulateInto }) => ({
      exact: { out: kernels.embeddingForward(tokens, weight) },
      gradient: {
        dweight: kernels.embeddingBackward(dout, tokens, vocabSize),
        accumulated: same(kernels.embeddingBackward(dout, tokens, vocabSize, { accumulateInto }), accumulateInto),
      },
    }),
  )
}

function rope(shape: readonly number[], rotaryDim: number, positionOffset: number, layout: Layout): KernelCase {
  const half = rotaryDim / 2
  const positions = (shape[1] as number) + positionOffset + 2
  const angles = Array.from({ length: positions * half }, (_, i) => Math.floor(i / half) * 10000 ** (-(i % half) / half))
  return kernelCase(
    'rope',
    `[${shape.join(', ')}] R ${rotaryDim} offset ${positionOffset} ${layout}`,
    (random) => ({
      x: host(shape, random.normals(size(shape)), { layout }),
      dout: host(shape, random.normals(size(shape)), { layout }),
      cos: host([positions, half], Float32Array.from(angles, Math.cos), { type: 'f32', layout }),
      sin: host([positions, half], Float32Array.from(angles, Math.sin), { type: 'f32', layout }),
    }),
    ({ kernels }, { x, dout, cos, sin }) => {
      const options = positionOffset === 0 ? {} : { positionOffset }
      return {
        forward: { out: kernels.ropeForward(x, cos, sin, options) },
        gradient: { dx: kernels.ropeBackward(dout, cos, sin, options) },
      }
    },
  )
}
