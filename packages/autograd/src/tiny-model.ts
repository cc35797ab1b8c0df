import type { Backend } from '@tilegrad/tensor'
import { Tape } from './tape'
import { randomTensor } from './test-inputs'
import type { Variable } from './variable'

/** A two-layer transformer: parameters, and a loss over tokens that uses most operations. */
export function tinyModel(backend: Backend) {
  const tape = new Tape(backend)
  const [B, T, C, V] = [2, 4, 4, 5]
  const parameter = (shape: number[], seed: number, name: string) => tape.parameter(randomTensor(backend, shape, seed), { name })
  const wte = parameter([V, C], 1, 'wte')
  const ln = parameter([C], 2, 'ln')
  const lnBias = parameter([C], 3, 'lnBias')
  const qkvWeight = parameter([C, 3 * C], 4, 'qkv')
  const qkvBias = parameter([3 * C], 5, 'qkvBias')
  const mlp = parameter([C, C], 6, 'mlp')
  const parameters = [wte, ln, lnBias, qkvWeight, qkvBias, mlp]
  const block = (x: Variable) => {
    const qkv = tape.matmul(tape.layerNorm(x, ln, lnBias), qkvWeight, { bias: qkvBias })
    const [q, k, v] = [0, 1, 2].map((i) => tape.reshape(tape.slice(qkv, [0, 0, i * C], [B, T, (i + 1) * C]), [B, T, 2, C / 2])) as [
      Variable,
      Variable,
      Variable,
    ]
    const attended = tape.add(x, tape.reshape(tape.attention(q, k, v, { causal: true }), [B, T, C]))
    return tape.add(attended, tape.matmul(attended, mlp, { activation: 'gelu' }))
  }
  const loss = (run: (x: Variable) => Variable = (x) => block(block(x))) =>
    tape.scope(() => {
      const tokens = backend.tensor(Int32Array.from([1, 0, 3, 1, 2, 4, 4, 0]), [B, T])
      const targets = backend.tensor(Int32Array.from([0, 3, 1, 2, 4, 4, 0, 1]), [B * T])
      const x = tape.embedding(tokens, wte)
      return tape.linearCrossEntropy(tape.reshape(run(x), [B * T, C]), wte, targets)
    })
  const grads = () => Promise.all(parameters.map(async ({ grad }) => Array.from((await grad?.read()) ?? [])))
  const dispose = () => {
    for (const parameter of parameters) parameter.dispose()
  }
  const parameterBytes = parameters.reduce((bytes, { shape }) => bytes + 8 * shape.reduce((n, s) => n * s, 1), 0)
  return { tape, parameters, block, loss, grads, dispose, parameterBytes }
}
