import { describe, expect, it } from 'vitest'
import { resolveConfig } from './config'
import { trainingFlops } from './flops'
import { parameterSpecs } from './parameters'

const common = { vocabSize: 40, contextLength: 64, nLayers: 3, nHeads: 4, dModel: 32 }

describe('trainingFlops', () => {
  it.each([
    { ...common, architecture: 'gpt2' as const },
    { ...common, architecture: 'llama' as const, nHeadsK: 2, tieEmbeddings: true },
    { ...common, architecture: 'llama' as const, tieEmbeddings: false },
    { ...common, architecture: 'llama' as const, attentionPattern: [{ type: 'window' as const, size: 7 }, { type: 'dense' as const }] },
  ])('counts the products of %j one by one', (options) => {
    const config = resolveConfig(options)
    const context = 17
    let forward = 0
    // Every matrix but the look-up tables multiplies each token; a tied table is also the head.
    for (const [name, { shape }] of parameterSpecs(config)) {
      const table = /wte|wpe|embed_tokens/.test(name)
      if (shape.length === 2 && (!table || (config.tieEmbeddings && !name.includes('wpe')))) forward += context * 2 * shape[0]! * shape[1]!
    }
    for (let query = 0; query < context; query++) {
      for (let key = 0; key <= query; key++) {
        for (let layer = 0; layer < config.nLayers; layer++) {
          const pattern = config.attentionPattern[layer % config.attentionPattern.length]!
          if (pattern.type === 'dense' || query - key < 7) forward += config.nHeads * 4 * config.headDim
        }
      }
    }
    expect(trainingFlops(config, context)).toBe(3 * forward)
  })
})
