import type { Backend } from '@tilegrad/tensor'
import { evaluate, type KernelCase, sameBits } from '../kernel-case'
import { randomFor } from '../random'
import { kernelCases } from './kernels'
import { isUnsupported } from './lacks'

/**
 * Every kernel, in the full grid, gives the same bits on each of `others` as on `backend`.
 * It needs no oracle, so it is quick.
 *
 * @param lacks groups of which `backend` may refuse cases, as in ConformanceOptions
 */
export async function assertDeterminism(
  backend: Backend,
  others: ReadonlyMap<string, Backend>,
  lacks: readonly string[] = [],
): Promise<void> {
  for (const kernelCase of kernelCases('full')) {
    try {
      await assertSame(kernelCase, backend, others)
    } catch (error) {
      if (lacks.includes(kernelCase.group) && isUnsupported(error)) continue
      throw new Error(`${kernelCase.group}, ${kernelCase.name}: ${(error as Error).message}`)
    }
  }
}

async function assertSame(kernelCase: KernelCase, backend: Backend, others: ReadonlyMap<string, Backend>): Promise<void> {
  const inputs = kernelCase.inputs(randomFor(`${kernelCase.group} ${kernelCase.name}`))
  const expected = await evaluate(kernelCase, backend, inputs, 'f32')
  for (const [what, other] of others) sameBits(expected, await evaluate(kernelCase, other, inputs, 'f32'), what)
}
