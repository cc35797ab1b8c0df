import { createWebGPUBackend } from '@tilegrad/kernels-webgpu'
import { naiveAttention } from './naive-attention.js'

const [seqlen, headDim] = [100, 32]
const softmaxScale = 1 / Math.sqrt(headDim)

/**
 * Causal attention of one head and its gradient on the GPU, tiled and by whole matrices, against float64. A result may err twice as much as a naive
 * computation in float32 does, a gradient three times.
 *
 * @returns {Promise<{ device: string, results: { name: string, error: number, limit: number }[], refused: string[] }>}
 */
export async function check() {
  const backend = await createWebGPUBackend()
  try {
    const [q, k, v, dout] = [1, 2, 3, 4].map((seed) => randomMatrix(seed))
    const exact = naiveAttention(q, k, v, dout, { seqlen, headDim, softmaxScale, round: (x) => x })
    const naive = naiveAttention(q, k, v, dout, { seqlen, headDim, softmaxScale, round: Math.fround })
    const results = []
    const refused = []
    for (const [kind, attention] of Object.entries({ standard: standardAttention, tiled: tiledAttention })) {
      try {
        const computed = await attention(backend, [q, k, v, dout])
        for (const [name, values] of Object.entries(computed)) {
          const limit = (name === 'out' ? 2 : 3) * difference(naive[name], exact[name]) + 1e-7
          results.push({ name: `${kind} ${name}`, error: difference(values, exact[name]), limit })
        }
      } catch (error) {
        if (error.name !== 'UnsupportedError') throw error
        refused.push(`${kind}: ${error.message}`)
      }
    }
    return { device: backend.info.device, results, refused }
  } finally {
    await backend.dispose()
  }
}

/** In tiles, without a seqlen × seqlen matrix. Tensors are [batchSize, seqlen, nHeads, headDim]. */
async function tiledAttention(backend, inputs) {
  const [q, k, v, dout] = inputs.map((data) => backend.tensor(data, [1, seqlen, 1, headDim]))
  const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal: true })
  const { dq, dk, dv } = backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal: true })
  return { out: await out.read(), dq: await dq.read(), dk: await dk.read(), dv: await dv.read() }
}

/** By products of whole matrices. */
async function standardAttention(backend, inputs) {
  const { matmul, softmaxForward, softmaxBackward } = backend.kernels
  const [q, k, v, dout] = inputs.map((data) => backend.tensor(data, [seqlen, headDim]))
  const p = softmaxForward(matmul(q, k, { transposeB: true }), { scale: softmaxScale, causal: true })
  const ds = softmaxBackward(matmul(dout, v, { transposeB: true }), p, { scale: softmaxScale })
  const results = {
    out: matmul(p, v),
    dq: matmul(ds, k),
    dk: matmul(ds, q, { transposeA: true }),
    dv: matmul(p, dout, { transposeA: true }),
  }
  return Object.fromEntries(await Promise.all(Object.entries(results).map(async ([name, tensor]) => [name, await tensor.read()])))
}

/** seqlen × headDim numbers in −1..1 (a linear congruential generator, so that every run has the same). */
function randomMatrix(seed) {
  let state = seed
  return Float32Array.from({ length: seqlen * headDim }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  })
}

function difference(a, b) {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0)
}
