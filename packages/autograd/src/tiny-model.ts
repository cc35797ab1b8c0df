import { type Backend, numel } from '@tilegrad/tensor'
import { Tape } from './tape'
import { normal } from './test-inputs'
import type { Variable } from './variable'

/** Sizes of a model for tests: B sequences of T tokens below V, H heads (Hk of keys) of D channels, C = H·D. */
export interface TinySizes {
  readonly B: number
  readonly T: number
  readonly V: number
  readonly H: number
  readonly Hk: number
  readonly D: number
}

const smallest: TinySizes = { B: 2, T: 4, V: 5, H: 2, Hk: 2, D: 2 }

/** Parameters by shape, and a loss over fixed tokens that goes from the embedding through `layers` to the tied head. */
function tinyModel<Name extends string>(
  backend: Backend,
  { B, T, V, H, D }: TinySizes,
  shapes: Readonly<Record<Name | 'wte', readonly number[]>>,
  layers: (tape: Tape, parameters: Readonly<Record<Name | 'wte', Variable>>, x: Variable) => Variable,
) {
  const tape = new Tape(backend)
  const entries = Object.entries<readonly number[]>(shapes).map(
    ([name, shape], i) =>
      [
        name,
        tape.parameter(
          backend.scope(() => initial(backend, shape, i)),
          { name },
        ),
      ] as const,
  )
  const named = Object.fromEntries(entries) as Record<Name | 'wte', Variable>
  const parameters = entries.map(([, parameter]) => parameter)
  const tokenData = (seed: number) => Int32Array.from(normal(B * T, seed), (x) => Math.floor(Math.abs(x) * 1e6) % V)

  const loss = () =>
    tape.scope(() => {
      const x = tape.embedding(backend.tensor(tokenData(50), [B, T]), named.wte)
      const out = tape.reshape(layers(tape, named, x), [B * T, H * D])
      return tape.linearCrossEntropy(out, named.wte, backend.tensor(tokenData(51), [B * T]))
    })
  const grads = () => Promise.all(parameters.map(async ({ grad }) => Array.from((await grad?.read()) ?? [])))
  const dispose = () => {
    for (const parameter of parameters) parameter.dispose()
  }
  /** In float64. */
  const parameterBytes = parameters.reduce((bytes, { shape }) => bytes + 8 * numel(shape), 0)
  return { tape, parameters, loss, grads, dispose, parameterBytes }
}

/** Normal over √fan-in for matrices, near 1 for vectors. */
function initial(backend: Backend, shape: readonly number[], seed: number) {
  const [rows, columns] = shape
  const data = normal(numel(shape), seed).map((x) => (columns === undefined ? 1 + x / 8 : x / Math.sqrt(rows as number)))
  return backend.tensor(Float32Array.from(data), shape)
}

/** Two pre-norm blocks as in GPT-2, with one set of weights. */
export function tinyGpt2(backend: Backend, sizes: TinySizes = smallest) {
  const { B, T, V, H, D } = sizes
  const C = H * D
  const shapes = { wte: [V, C], wpe: [T + 3, C], ln: [C], lnBias: [C], qkv: [C, 3 * C], qkvBias: [3 * C], up: [C, 4 * C], down: [4 * C, C] }
  return tinyModel(backend, sizes, shapes, (tape, p, x) => {
    const block = (x: Variable) => {
      const qkv = tape.matmul(tape.layerNorm(x, p.ln, p.lnBias), p.qkv, { bias: p.qkvBias })
      const part = (i: number) => tape.reshape(tape.slice(qkv, [0, 0, i * C], [B, T, (i + 1) * C]), [B, T, H, D])
      const attended = tape.add(x, tape.reshape(tape.attention(part(0), part(1), part(2), { causal: true }), [B, T, C]))
      const hidden = tape.matmul(tape.layerNorm(attended, p.ln, p.lnBias), p.up, { activation: 'gelu' })
      return tape.add(attended, tape.matmul(hidden, p.down))
    }
    const positions = tape.embedding(
      tape.backend.tensor(
        Int32Array.from({ length: B * T }, (_, i) => i % T),
        [B, T],
      ),
      p.wpe,
    )
    return block(block(tape.add(x, positions)))
  })
}

/** One block as in Llama: rmsNorm, rope, grouped queries, swiglu. */
export function tinyLlama(backend: Backend, sizes: TinySizes) {
  const { B, T, V, H, Hk, D } = sizes
  const [C, Ck] = [H * D, Hk * D]
  const shapes = { wte: [V, C], norm: [C], q: [C, C], k: [Ck, C], v: [Ck, C], gate: [2 * C, C], up: [2 * C, C], down: [C, 2 * C] }
  return tinyModel(backend, sizes, shapes, (tape, p, x) => {
    const angles = Float32Array.from({ length: (T * D) / 2 }, (_, i) => Math.floor(i / (D / 2)) * 100 ** (-(i % (D / 2)) / (D / 2)))
    const cos = tape.backend.tensor(angles.map(Math.cos), [T, D / 2])
    const sin = tape.backend.tensor(angles.map(Math.sin), [T, D / 2])
    const linear = (x: Variable, w: Variable) => tape.matmul(x, w, { transposeB: true })
    const h = tape.rmsNorm(x, p.norm)
    const q = tape.rope(tape.reshape(linear(h, p.q), [B, T, H, D]), cos, sin)
    const k = tape.rope(tape.reshape(linear(h, p.k), [B, T, Hk, D]), cos, sin)
    const v = tape.reshape(linear(h, p.v), [B, T, Hk, D])
    const attended = tape.add(x, tape.reshape(tape.attention(q, k, v, { causal: true, windowSize: [T >> 1, 0] }), [B, T, C]))
    const n = tape.rmsNorm(attended, p.norm)
    return tape.add(attended, linear(tape.swiglu(linear(n, p.gate), linear(n, p.up)), p.down))
  })
}
