import type { Tensor } from '@tilegrad/tensor'
import { host, type Layout, target } from '../host-tensor'
import { type KernelCase, kernelCase, magnitudes } from '../kernel-case'
import type { Random } from '../random'
import { softmaxTerms } from '../tolerance'
import { same } from './matmul'
import type { Sizes } from './sizes'

const IGNORE_INDEX = -100

interface LossCase {
  readonly rows: number
  readonly vocabSize: number
  readonly channels: number
  /** Which rows count: all, some, none. */
  readonly ignored: 'none' | 'some' | 'all'
  readonly ignoreIndex: number
  /** Standard deviation of the logits. */
  readonly logits: number
  readonly layout: Layout
}

/** Cross-entropy of logits and of a product, forward and backward. */
export function lossCases(sizes: Sizes): KernelCase[] {
  const base: LossCase = {
    rows: 9,
    vocabSize: 33,
    channels: 16,
    ignored: 'none',
    ignoreIndex: IGNORE_INDEX,
    logits: 1,
    layout: 'contiguous',
  }
  const cases: LossCase[] = [
    { ...base, rows: 1, vocabSize: 1, channels: 1 },
    { ...base, rows: 0 },
    base,
    { ...base, ignored: 'some' },
    { ...base, ignored: 'some', layout: 'padded' },
    { ...base, ignored: 'some', ignoreIndex: 3 },
    { ...base, ignored: 'all' },
    { ...base, logits: 200 },
    { ...base, rows: 70, vocabSize: 257, channels: 65, ignored: 'some' },
    { ...base, rows: 130, vocabSize: 31, channels: 7, layout: 'padded' },
    ...(sizes === 'full' ? [{ ...base, rows: 513, vocabSize: 700, channels: 40, ignored: 'some' as const }] : []),
  ]
  return cases.flatMap((of) => [crossEntropy(of), linearCrossEntropy(of)])
}

function describeCase({ rows, vocabSize, channels, ignored, ignoreIndex, logits, layout }: LossCase, linear: boolean): string {
  const parts = [
    `R ${rows} V ${vocabSize}${linear ? ` C ${channels}` : ''} ${layout}`,
    ignored === 'none' ? '' : `${ignored} ignored`,
    ignoreIndex === IGNORE_INDEX ? '' : `ignoreIndex ${ignoreIndex}`,
    logits === 1 ? '' : `logits × ${logits}`,
  ]
  return parts.filter(Boolean).join(' ')
}

function targetsOf({ rows, vocabSize, ignored, ignoreIndex }: LossCase, random: Random): Int32Array {
  return Int32Array.from({ length: rows }, (_, i) =>
    ignored === 'all' || (ignored === 'some' && i % 3 === 1) ? ignoreIndex : random.integer(0, vocabSize - 1),
  )
}

function optionsOf({ ignoreIndex }: LossCase): { ignoreIndex?: number } {
  return ignoreIndex === IGNORE_INDEX ? {} : { ignoreIndex }
}

function crossEntropy(of: LossCase): KernelCase {
  const { rows, vocabSize, logits, layout } = of
  const options = optionsOf(of)
  return kernelCase(
    'crossEntropy',
    describeCase(of, false),
    (random) => ({
      logits: host([rows, vocabSize], random.normals(rows * vocabSize, logits), { layout }),
      targets: host([rows], targetsOf(of, random), { layout }),
      dloss: host([], Float32Array.of(0.75), { type: 'f32' }),
      inPlace: target([rows, vocabSize], random.normals(rows * vocabSize, logits)),
    }),
    ({ kernels }, { logits, targets, dloss, inPlace }) => {
      const { loss, lse } = kernels.crossEntropyForward(logits, targets, options)
      const dlogits = kernels.crossEntropyBackward(dloss, logits, targets, lse, options)
      const again = kernels.crossEntropyForward(inPlace, targets, options)
      same(kernels.crossEntropyBackward(dloss, inPlace, targets, again.lse, { ...options, out: inPlace }), inPlace)
      again.loss.dispose()
      again.lse.dispose()
      return { forward: { loss, lse }, gradient: { dlogits, inPlace } }
    },
    async ({ kernels }, { logits, targets, inPlace }, naiveError) => {
      const [one, two] = [logits, inPlace].map((x) => kernels.crossEntropyForward(x, targets, options))
      const max = await magnitudes({ lse: one?.lse as Tensor, again: two?.lse as Tensor })
      for (const tensor of [one, two].flatMap((made) => Object.values(made ?? {}))) tensor.dispose()
      // lse − logit, and p − 1 with a weight of dloss/R at most
      return {
        loss: max.lse,
        dlogits: probabilityTerms(0.75 / rows, max.lse, naiveError('lse')),
        inPlace: probabilityTerms(0.75 / rows, max.again, naiveError('lse')),
      }
    },
  )
}

function linearCrossEntropy(of: LossCase): KernelCase {
  const { rows, vocabSize, channels, logits, layout } = of
  const options = optionsOf(of)
  return kernelCase(
    'linearCrossEntropy',
    describeCase(of, true),
    (random) => ({
      x: host([rows, channels], random.normals(rows * channels, logits), { layout }),
      weight: host([vocabSize, channels], random.normals(vocabSize * channels, channels ** -0.5), { layout }),
      targets: host([rows], targetsOf(of, random), { layout }),
      dloss: host([], Float32Array.of(-1.25), { type: 'f32' }),
      dweightInto: target([vocabSize, channels], random.normals(vocabSize * channels)),
    }),
    ({ kernels }, { x, weight, targets, dloss, dweightInto }) => {
      const { loss, lse } = kernels.linearCrossEntropyForward(x, weight, targets, options)
      const { dx, dweight } = kernels.linearCrossEntropyBackward(dloss, x, weight, targets, lse, options)
      const into = kernels.linearCrossEntropyBackward(dloss, x, weight, targets, lse, { ...options, dweightInto })
      return {
        forward: { loss, lse },
        gradient: { dx, dweight, dxAgain: into.dx, accumulated: same(into.dweight, dweightInto) },
      }
    },
    async ({ kernels }, { x, weight, targets }, naiveError) => {
      const forward = kernels.linearCrossEntropyForward(x, weight, targets, options)
      const max = await magnitudes({ x, weight, lse: forward.lse })
      for (const tensor of Object.values(forward)) tensor.dispose()
      const dlogits = probabilityTerms(1.25 / rows, max.lse, naiveError('lse'))
      return {
        loss: max.lse,
        dx: dlogits * max.weight,
        dxAgain: dlogits * max.weight,
        dweight: dlogits * max.x,
        accumulated: dlogits * max.x,
      }
    },
  )
}

/** Terms of factor·(p − 1). */
function probabilityTerms(factor: number, lse: number, naiveErrorOfLse: number): number {
  return Number.isFinite(factor) ? factor + softmaxTerms(factor, lse, naiveErrorOfLse) : 0
}
