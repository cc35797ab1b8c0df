import type { Backend } from '@tilegrad/tensor'
import { evaluate, sameBits } from '../kernel-case'
import { randomFor } from '../random'
import { attentionCases } from './attention'
import { elementwiseCases } from './elementwise'
import { lookupCases } from './lookup'
import { lossCases } from './loss'
import { matmulCases } from './matmul'
import { optimizerCases } from './optimizer'
import { rowCases } from './rows'

/**
 * Every kernel, in the full grid, gives the same bits on each of `others` as on `backend`.
 * It needs no oracle, so it is quick.
 */
export async function assertDeterminism(backend: Backend, others: ReadonlyMap<string, Backend>): Promise<void> {
  const families = [attentionCases, matmulCases, rowCases, elementwiseCases, lookupCases, lossCases, optimizerCases]
  for (const kernelCase of families.flatMap((cases) => cases('full'))) {
    const inputs = kernelCase.inputs(randomFor(`${kernelCase.group} ${kernelCase.name}`))
    const expected = await evaluate(kernelCase, backend, inputs, 'f32')
    for (const [what, other] of others) {
      const got = await evaluate(kernelCase, other, inputs, 'f32')
      try {
        sameBits(expected, got, what)
      } catch (error) {
        throw new Error(`${kernelCase.group}, ${kernelCase.name}: ${(error as Error).message}`)
      }
    }
  }
}
