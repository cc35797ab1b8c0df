import type { AttentionOptions, Backend, Tensor } from '@tilegrad/tensor'
import { type HostTensor, host } from '../../host-tensor'
import { type KernelCase, kernelCase, magnitudes, orDispose } from '../../kernel-case'
import type { Random } from '../../random'
import { softmaxTerms } from '../../tolerance'
import type { Sizes } from '../sizes'
import { type AttentionInputs, attentionInputs, optionsOf } from './attention-case'
import { type AttentionCase, attentionCase, describeCase } from './attention-data'

const GROUP = 'attention inspection'
const AT = { batchSize: 2, seqlenQ: 37, seqlenK: 70, nHeads: 4, nHeadsK: 2, headDim: 32 } as const

type InputName = 'q' | 'k' | 'v' | 'alibiSlopes' | 'bias' | 'sink'

/** Looking inside without N²: probabilities of rows, sums over columns, and the top keys, under every option they take. */
export function inspectionCases(sizes: Sizes): KernelCase[] {
  const cases: Partial<AttentionCase>[] = [
    {},
    { options: { causal: true } },
    { seqlenQ: 70, seqlenK: 37, options: { causal: true, windowSize: [20, -1] } },
    { options: { windowSize: [9, 4], softcap: 2 } },
    { alibi: { axes: 'BH', slopes: [0.5, 0.125, 0.25] } },
    { bias: { axes: 'BHQK', hidden: 0.3 } },
    { bias: { axes: '11QK', hidden: 'rows' }, layout: 'padded' },
    { sink: [2, -1], options: { causal: true } },
    // Probabilities are those of before dropout.
    { options: { dropoutP: 0.5, seed: 3 } },
    {
      seqlenQ: 130,
      seqlenK: 200,
      mask: { seed: 2, blockM: 64, blockN: 64, full: 0.3, partial: 0.4, perHead: true },
      options: { causal: true },
    },
    { layout: 'packed', seqlenQ: 65, seqlenK: 65, nHeads: 3, nHeadsK: 3 },
    { seqlenQ: 1, seqlenK: sizes === 'full' ? 3000 : 700, batchSize: 1 },
    { headDim: 111, logits: 20 },
    { seqlenQ: 4, seqlenK: 0 },
    { batchSize: 0 },
  ]
  return cases
    .flatMap((overrides) => {
      const of = attentionCase({ ...AT, ...overrides })
      return [rowsCase(of), columnSumsCase(of), topKCase(of, of.seqlenK > 100 ? 20 : 5)]
    })
    .concat([
      rowsCase(attentionCase(AT), []),
      // More than there are keys, and the one best.
      topKCase(attentionCase({ ...AT, seqlenK: 6 }), 9),
      topKCase(attentionCase({ ...AT, options: { causal: true, causalAlign: 'top-left' } }), 8),
      topKCase(attentionCase(AT), 1),
    ])
}

/** Inputs but dout, and the lse of a forward pass with the same options. */
function withLse({ kernels }: Backend, inputs: AttentionInputs<Tensor>, of: AttentionCase): { options: AttentionOptions; lse: Tensor } {
  const options = optionsOf(of, inputs)
  const { out, lse } = kernels.attentionForward(inputs.q, inputs.k, inputs.v, options)
  out.dispose()
  return { options, lse }
}

function inspection(
  of: AttentionCase,
  name: string,
  inputs: (random: Random) => AttentionInputs<HostTensor>,
  compute: (backend: Backend, inputs: AttentionInputs<Tensor>, lse: Tensor, options: AttentionOptions) => Record<string, Tensor>,
  exact: readonly string[] = [],
): KernelCase {
  const run = (backend: Backend, tensors: AttentionInputs<Tensor>) => {
    const { options, lse } = withLse(backend, tensors, of)
    return { lse, ...orDispose([lse], () => compute(backend, tensors, lse, options)) }
  }
  return kernelCase<InputName>(
    GROUP,
    `${name} of ${describeCase(of)}`,
    (random) => {
      const { dout: _, ...used } = inputs(random)
      return used as Record<InputName, HostTensor>
    },
    (backend, tensors) => {
      const results = Object.entries(run(backend, tensors as never))
      return {
        forward: Object.fromEntries(results.filter(([output]) => !exact.includes(output))),
        exact: Object.fromEntries(results.filter(([output]) => exact.includes(output))),
      }
    },
    async (backend, tensors, naiveError) => {
      const results = run(backend, tensors as never)
      const sizes = await magnitudes(results)
      for (const tensor of Object.values(results)) tensor.dispose()
      const lseError = naiveError('lse')
      const lseSize = sizes.lse as number
      return Object.fromEntries(
        Object.entries(sizes)
          .filter(([output]) => output !== 'lse')
          .map(([output, size]) => [output, softmaxTerms(size, lseSize, lseError)]),
      )
    },
  )
}

/** Rows in any order, some twice, the first and the last. */
function rowsCase(of: AttentionCase, chosen?: readonly number[]): KernelCase {
  const last = of.seqlenQ - 1
  const rows = chosen ?? [last, 0, Math.floor(last / 2), Math.floor(last / 3), 0]
  return inspection(
    of,
    `rows [${rows}]`,
    (random) => attentionInputs(of, random),
    ({ kernels }, { q, k }, lse, options) => ({ probabilities: kernels.attentionRows(q, k, lse, rows, options) }),
  )
}

function columnSumsCase(of: AttentionCase): KernelCase {
  return inspection(
    of,
    'column sums',
    (random) => attentionInputs(of, random),
    ({ kernels }, { q, k }, lse, options) => ({ sums: kernels.attentionColumnSums(q, k, lse, options) }),
  )
}

/**
 * Elements of q and k are small integers, so that every float32 sum of their products is exact: equal scores are equal on every backend,
 * others differ by far more than rounding, and indices have one right answer.
 */
function topKCase(of: AttentionCase, topK: number): KernelCase {
  const whole = (x: HostTensor) => ({ ...x, data: Float32Array.from(x.data, (value) => Math.max(-2, Math.min(2, Math.round(value)))) })
  const scaled = { ...of, options: { ...of.options, softmaxScale: 0.25 } }
  return inspection(
    scaled,
    `top ${topK}`,
    (random) => {
      const { bias, ...inputs } = attentionInputs(scaled, random)
      return {
        ...inputs,
        q: whole(inputs.q),
        k: whole(inputs.k),
        ...(bias && { bias: { ...host(bias.shape, whole(bias).data, { type: 'f32' }), layout: bias.layout } }),
      }
    },
    ({ kernels }, { q, k }, lse, options) => ({ ...kernels.attentionTopK(q, k, lse, topK, options) }),
    ['indices'],
  )
}
