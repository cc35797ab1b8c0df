import { createReferenceBackend } from '@tilegrad/core-math'
import type { Backend, TypedArray } from '@tilegrad/tensor'
import { type Check, type Comparison, check, forwardFactor, gradientFactor } from '../check'
import type { AttentionInputs, AttentionResult, AttentionShape } from './problem'

const rowsPerBlock = 8

/** Which part of the result is compared: blocks of consecutive rows of some heads. */
interface Block {
  readonly batch: number
  readonly head: number
  readonly row: number
  readonly rows: number
}

interface HostResult {
  readonly out: TypedArray
  readonly lse: TypedArray | undefined
  readonly dq: TypedArray | undefined
  readonly dk: TypedArray | undefined
  readonly dv: TypedArray | undefined
}

/**
 * Compares what was timed with float64. All of it would take as long as N² multiplications in JavaScript do, so it is a sample: the
 * first, middle and last 8 rows of the first and the last head. Each row is compared exactly: a row of out and dq needs all keys, a row of
 * dk and dv all queries (with the lse and out that were timed, which the forward comparison has vouched for).
 */
export async function checkAttention(inputs: AttentionInputs, result: AttentionResult, shape: AttentionShape): Promise<Check[]> {
  const actual = await download(result)
  const [oracle, naive] = [createReferenceBackend({ precision: 'f64' }), createReferenceBackend({ precision: 'f32' })]
  const parts = new Map<string, Comparison[]>()
  for (const block of blocks(shape)) {
    for (const compute of [queryRows, keyRows]) {
      const expected = await compute(oracle, inputs, actual, shape, block)
      const baseline = await compute(naive, inputs, actual, shape, block)
      for (const [name, values] of Object.entries(expected)) {
        const whole = actual[name as keyof HostResult]
        if (whole === undefined) continue
        const part = name === 'lse' ? lseRows(whole, shape, block) : rowsOf(whole, shape, block)
        parts.set(name, [...(parts.get(name) ?? []), { actual: part, oracle: values, naive: baseline[name] ?? [] }])
      }
    }
  }
  return [...parts].map(([name, comparisons]) => check(name, comparisons, name.startsWith('d') ? gradientFactor : forwardFactor))
}

async function download({ out, lse, gradients }: AttentionResult): Promise<HostResult> {
  const [dq, dk, dv] = [await gradients?.dq.read(), await gradients?.dk.read(), await gradients?.dv.read()]
  return { out: await out.read(), lse: await lse?.read(), dq, dk, dv }
}

function blocks({ batchSize, seqlen, nHeads }: AttentionShape): Block[] {
  const rows = Math.min(rowsPerBlock, seqlen)
  const starts = new Set([0, (seqlen - rows) >> 1, seqlen - rows])
  const corners = [
    { batch: 0, head: 0 },
    { batch: batchSize - 1, head: nHeads - 1 },
  ]
  return corners.flatMap((corner) => [...starts].map((row) => ({ ...corner, row, rows })))
}

/** out, lse and dq of the block's queries against the keys that they see. */
async function queryRows(backend: Backend, inputs: AttentionInputs, actual: HostResult, shape: AttentionShape, block: Block) {
  const { causal, seqlen } = shape
  const visible = { ...block, row: 0, rows: causal ? block.row + block.rows : seqlen }
  const [q, dout] = [head(backend, inputs.q, shape, block), head(backend, inputs.dout, shape, block)]
  const [k, v] = [head(backend, inputs.k, shape, visible), head(backend, inputs.v, shape, visible)]
  const { out, lse } = backend.kernels.attentionForward(q, k, v, { causal })
  const values: Record<string, TypedArray> = { out: await out.read(), lse: await lse.read() }
  if (actual.dq) values.dq = await backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal }).dq.read()
  return values
}

/** dk and dv of the block's keys, from the queries that see them. */
async function keyRows(backend: Backend, inputs: AttentionInputs, actual: HostResult, shape: AttentionShape, block: Block) {
  const values: Record<string, TypedArray> = {}
  if (!actual.dk || !actual.lse) return values
  const { causal, seqlen } = shape
  const viewers = causal ? { ...block, rows: seqlen - block.row } : { ...block, row: 0, rows: seqlen }
  const [q, dout] = [head(backend, inputs.q, shape, viewers), head(backend, inputs.dout, shape, viewers)]
  const [k, v] = [head(backend, inputs.k, shape, block), head(backend, inputs.v, shape, block)]
  const out = head(backend, actual.out, shape, viewers)
  const lse = backend.tensor(lseRows(actual.lse, shape, viewers), [1, 1, viewers.rows])
  const { dk, dv } = backend.kernels.attentionBackward(dout, q, k, v, out, lse, { causal, causalAlign: 'top-left' })
  values.dk = await dk.read()
  values.dv = await dv.read()
  return values
}

function head(backend: Backend, whole: TypedArray, shape: AttentionShape, block: Block) {
  return backend.tensor(rowsOf(whole, shape, block), [1, block.rows, 1, shape.headDim])
}

/** Rows of one head of [B, S, H, D]. */
function rowsOf(whole: TypedArray, { seqlen, nHeads, headDim }: AttentionShape, { batch, head, row, rows }: Block): Float32Array {
  const part = new Float32Array(rows * headDim)
  for (let i = 0; i < rows; i++) {
    const start = ((batch * seqlen + row + i) * nHeads + head) * headDim
    part.set(whole.subarray(start, start + headDim) as Float32Array, i * headDim)
  }
  return part
}

/** Rows of one head of [B, H, S]. */
function lseRows(whole: TypedArray, { seqlen, nHeads }: AttentionShape, { batch, head, row, rows }: Block): Float32Array {
  const start = (batch * nHeads + head) * seqlen + row
  return Float32Array.from(whole.subarray(start, start + rows) as Float32Array)
}
