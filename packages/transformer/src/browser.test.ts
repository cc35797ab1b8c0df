import { createReferenceBackend } from '@tilegrad/core-math'
import { expect, test, vi } from 'vitest'

// A page has none of these: loading one is an error, as it is there.
const absent = vi.hoisted(() => () => {
  throw new Error('there is no such module here')
})
vi.mock('node:fs', absent)
vi.mock('node:fs/promises', absent)
vi.mock('node:path', absent)

test('without the modules of Node, models are made, trained, sampled and read from memory', async () => {
  const { AdamW, CharTokenizer, GPT, generateAll, loadWeights, memorySource, SafetensorsFile, safetensorsChunks } = await import('./index')
  const backend = createReferenceBackend({ precision: 'f32' })
  const tokenizer = CharTokenizer.fromText('abc')
  const model = GPT.fromConfig({ vocabSize: tokenizer.vocabSize, contextLength: 8, nLayers: 1, nHeads: 1, dModel: 4 }, { backend })
  model.tape.backward(model.loss(model.tokens([0, 1, 2]), model.tokens([1, 2, 0])))
  await new AdamW(model.parameters()).step()

  const bytes: number[] = []
  for await (const chunk of safetensorsChunks(Array.from(model.parameters(), ([name, { value }]) => [name, value]))) bytes.push(...chunk)
  const file = await SafetensorsFile.open(memorySource('download', Uint8Array.from(bytes)))
  const again = new GPT(model.config, backend, await loadWeights('download', file, model.config, backend))
  const options = { maxNewTokens: 5, seed: 1 }
  expect(await generateAll(again, [0], options)).toEqual(await generateAll(model, [0], options))
  await expect(model.save('folder')).rejects.toThrow()
})
