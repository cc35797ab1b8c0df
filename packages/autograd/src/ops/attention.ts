import { isTensor, type AttentionOptions as KernelOptions, type LearnableAttentionOption, type Tensor } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

/** Options of Tape.attention: those of the kernel, of which alibiSlopes, bias and sink may be variables and then get gradients. */
export interface AttentionOptions extends Omit<KernelOptions, LearnableAttentionOption> {
  readonly alibiSlopes?: Variable | Tensor
  readonly bias?: Variable | Tensor
  readonly sink?: Variable | Tensor
}

const learnable = ['alibiSlopes', 'bias', 'sink'] as const

/**
 * Exact tiled attention: saves out and lse, and for short sequences the probabilities where the backend returns them, never an Sq × Sk array of long ones.
 * Dropout's mask is drawn again from its seed.
 */
export function attention(tape: Recorder, q: Variable, k: Variable, v: Variable, options: AttentionOptions = {}): Variable {
  const { kernels } = tape.backend
  const [qt, kt, vt] = [tape.use('attention', q), tape.use('attention', k), tape.use('attention', v)]
  const { alibiSlopes, bias, sink, ...rest } = options
  const given = learnable.filter((name) => options[name] !== undefined)
  const tensors = given.map((name) => tensorOf(tape, options[name] as Variable | Tensor))
  const plain = withOwnLengths(rest)
  const inputs = [q, k, v, ...given.map((name) => variableOf(options[name]))]
  const saveProbabilities = tape.records(inputs)
  const { out, lse, probabilities } = kernels.attentionForward(qt, kt, vt, { ...plain, ...named(given, tensors), saveProbabilities })
  const result = tape.record('attention', inputs, out, (save) => {
    const [savedQ, savedK, savedV, savedOut, savedLse] = [save(qt), save(kt), save(vt), save(out), save(lse)]
    const savedProbabilities = probabilities && save(probabilities)
    const savedOptions = tensors.map(save)
    return (context) => {
      const inputOf = (name: LearnableAttentionOption) => 3 + given.indexOf(name)
      const optionGradients = given.filter((name) => context.needs(inputOf(name)))
      const { dq, dk, dv, ...gradients } = kernels.attentionBackward(
        context.dout,
        savedQ.tensor,
        savedK.tensor,
        savedV.tensor,
        savedOut.tensor,
        savedLse.tensor,
        {
          ...plain,
          ...named(
            given,
            savedOptions.map(({ tensor }) => tensor),
          ),
          optionGradients,
          ...(savedProbabilities && { probabilities: savedProbabilities.tensor }),
        },
      )
      context.receive(0, dq)
      context.receive(1, dk)
      context.receive(2, dv)
      for (const name of optionGradients) context.receive(inputOf(name), gradients[`d${name}`] as Tensor)
    }
  })
  lse.dispose()
  probabilities?.dispose()
  return result
}

/** Copies of the lengths: what the caller does to its arrays before backward must not reach it. */
function withOwnLengths(options: KernelOptions): KernelOptions {
  const { cuSeqlensQ, cuSeqlensK } = options
  return {
    ...options,
    ...(cuSeqlensQ instanceof Int32Array && { cuSeqlensQ: cuSeqlensQ.slice() }),
    ...(cuSeqlensK instanceof Int32Array && { cuSeqlensK: cuSeqlensK.slice() }),
  }
}

function tensorOf(tape: Recorder, option: Variable | Tensor): Tensor {
  return isTensor(option) ? tape.useTensor(option) : tape.use('attention', option)
}

function variableOf(option: Variable | Tensor | undefined): Variable | undefined {
  return option === undefined || isTensor(option) ? undefined : option
}

function named(names: readonly LearnableAttentionOption[], tensors: readonly Tensor[]): { [name in LearnableAttentionOption]?: Tensor } {
  return Object.fromEntries(names.map((name, n) => [name, tensors[n]]))
}
