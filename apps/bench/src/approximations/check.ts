import type { TypedArray } from '@tilegrad/tensor'
import { sampledRows } from '../attention/check'
import type { HeadRow } from '../attention/oracle'
import type { AttentionInputs, AttentionShape } from '../attention/problem'
import { type Check, type Comparison, check, forwardFactor, gradientFactor } from '../check'
import { checkBlockSparse } from '../sparsity/check'
import type { LinformerResult } from './linformer'

/** As `Projections`. */
export interface HostProjections {
  readonly e: Float32Array
  readonly f: Float32Array
}

/** Of a forward and backward pass. */
export type HostLinformer = {
  readonly [name in 'out' | 'lse' | 'projectedK' | 'projectedV']: TypedArray
} & { readonly gradients: { readonly [name in keyof NonNullable<LinformerResult['gradients']>]: TypedArray } }

export async function readLinformer({ gradients, out, lse, projectedK, projectedV }: LinformerResult): Promise<HostLinformer> {
  if (!gradients) throw new Error('expected the results of a backward pass too')
  const { dq, dk, dv, de, df, dProjectedK, dProjectedV } = gradients
  return {
    ...{ out: await out.read(), lse: await lse.read(), projectedK: await projectedK.read(), projectedV: await projectedV.read() },
    gradients: {
      ...{ dq: await dq.read(), dk: await dk.read(), dv: await dv.read(), de: await de.read(), df: await df.read() },
      ...{ dProjectedK: await dProjectedK.read(), dProjectedV: await dProjectedV.read() },
    },
  }
}

/**
 * Linformer, one step after the other: each from what the step before it computed in the run, of which rows were compared with float64 themselves.
 * One sequence.
 */
export function checkLinformer(inputs: AttentionInputs, { e, f }: HostProjections, result: HostLinformer, shape: AttentionShape): Check[] {
  const { projectedK, projectedV, gradients } = result
  const { dProjectedK, dProjectedV } = gradients
  const { seqlenK, nHeads, headDim } = shape
  const length = e.length / seqlenK
  const c = nHeads * headDim
  const attention = checkBlockSparse(
    { ...inputs, k: Float32Array.from(projectedK), v: Float32Array.from(projectedV) },
    { out: result.out, lse: result.lse, gradients: { dq: gradients.dq, dk: dProjectedK, dv: dProjectedV } },
    { ...shape, seqlenK: length },
    null,
  ).map(({ what, ...rest }) => ({ what: what === 'dk' ? 'dProjectedK' : what === 'dv' ? 'dProjectedV' : what, ...rest }))
  const [projection, transposed] = [
    { rowStride: seqlenK, stride: 1 },
    { rowStride: 1, stride: seqlenK },
  ]
  const along = { rowStride: 1, stride: c }
  return [
    checkProduct('projectedK', projectedK, { ...projection, values: e }, { ...along, values: inputs.k }, length, c, seqlenK, forwardFactor),
    checkProduct('projectedV', projectedV, { ...projection, values: f }, { ...along, values: inputs.v }, length, c, seqlenK, forwardFactor),
    ...attention,
    checkProduct('dk', gradients.dk, { ...transposed, values: e }, { ...along, values: dProjectedK }, seqlenK, c, length, gradientFactor),
    checkProduct('dv', gradients.dv, { ...transposed, values: f }, { ...along, values: dProjectedV }, seqlenK, c, length, gradientFactor),
    checkProduct('de', gradients.de, rowsOf(dProjectedK, c), rowsOf(inputs.k, c), length, seqlenK, c, gradientFactor),
    checkProduct('df', gradients.df, rowsOf(dProjectedV, c), rowsOf(inputs.v, c), length, seqlenK, c, gradientFactor),
  ]
}

/** Element i of row r is values[r·rowStride + i·stride]. */
interface Operand {
  readonly values: TypedArray
  readonly rowStride: number
  readonly stride: number
}

function rowsOf(values: TypedArray, columns: number): Operand {
  return { values, rowStride: columns, stride: 1 }
}

/** actual[r, c] = Σ_i a[r, i]·b[c, i] for sampled r and c, [m, n] with k products each. */
function checkProduct(what: string, actual: TypedArray, a: Operand, b: Operand, m: number, n: number, k: number, factor: number): Check {
  const rows = sampledRows(m, [one]).map(({ row }) => row)
  const columns = sampledRows(n, [one]).map(({ row }) => row)
  const parts = rows.flatMap((row) =>
    columns.map((column): Comparison => {
      const sum = (round: (x: number) => number) => {
        let total = 0
        for (let i = 0; i < k; i++) {
          const product = (a.values[row * a.rowStride + i * a.stride] as number) * (b.values[column * b.rowStride + i * b.stride] as number)
          total = round(total + round(product))
        }
        return [total]
      }
      return { actual: [actual[row * n + column] as number], oracle: sum((x) => x), naive: sum(Math.fround) }
    }),
  )
  return check(what, parts, factor)
}

const one: Omit<HeadRow, 'row'> = { batch: 0, head: 0 }
