import type { DType } from '@tilegrad/tensor'
import { checkKernelCase, type KernelCase } from '../kernel-case'
import { attentionCases } from './attention'
import { castCases } from './cast'
import type { ConformanceCase } from './conformance-case'
import { contractCases } from './contract'
import { elementwiseCases } from './elementwise'
import { lookupCases } from './lookup'
import { lossCases } from './loss'
import { matmulCases } from './matmul'
import { misuseCases } from './misuse'
import { optimizerCases } from './optimizer'
import { rowCases } from './rows'
import type { Sizes } from './sizes'

export { createOracle, type Oracle } from '../kernel-case'
export type { ConformanceCase } from './conformance-case'
export { assertDeterminism } from './determinism'
export type { Sizes } from './sizes'

export interface ConformanceOptions {
  /** Float dtypes to run the kernels in. Default `['f32']`. */
  readonly dtypes?: readonly Exclude<DType, 'i32'>[]
  /** `'full'` (default), or `'small'` where time is short, as in a browser page. */
  readonly sizes?: Sizes
}

/** Every test of the suite, in the order to run them: they need nothing but a backend and `createOracle()`. */
export function conformanceCases({ dtypes = ['f32'], sizes = 'full' }: ConformanceOptions = {}): ConformanceCase[] {
  const kernels = kernelCases(sizes)
  return [
    ...contractCases(),
    ...misuseCases(),
    ...castCases(),
    ...dtypes.flatMap((dtype) => kernels.map((kernelCase) => conformanceCase(kernelCase, dtype, dtypes.length > 1))),
  ]
}

function conformanceCase(kernelCase: KernelCase, dtype: DType, named: boolean): ConformanceCase {
  return {
    group: named ? `${kernelCase.group} ${dtype}` : kernelCase.group,
    name: kernelCase.name,
    run: (backend, oracle) => checkKernelCase(kernelCase, backend, oracle, dtype),
  }
}

function kernelCases(sizes: Sizes): KernelCase[] {
  return [
    ...attentionCases(sizes),
    ...matmulCases(sizes),
    ...rowCases(sizes),
    ...elementwiseCases(sizes),
    ...lookupCases(sizes),
    ...lossCases(sizes),
    ...optimizerCases(sizes),
  ]
}
