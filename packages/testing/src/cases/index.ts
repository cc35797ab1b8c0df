import type { DType } from '@tilegrad/tensor'
import { checkKernelCase, type KernelCase } from '../kernel-case'
import { attentionContractCases } from './attention'
import { castCases } from './cast'
import type { ConformanceCase } from './conformance-case'
import { contractCases } from './contract'
import { kernelCases } from './kernels'
import { withLacks } from './lacks'
import { misuseCases } from './misuse'
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
  /**
   * Groups (`'attention dropout'`) of which the backend does not have everything yet: their cases may be refused, by an UnsupportedError and in no other
   * way, and one of each group must be. Default none.
   */
  readonly lacks?: readonly string[]
}

/** Every test of the suite, in the order to run them: they need nothing but a backend and `createOracle()`. */
export function conformanceCases({ dtypes = ['f32'], sizes = 'full', lacks = [] }: ConformanceOptions = {}): ConformanceCase[] {
  const kernels = kernelCases(sizes)
  const cases = [
    ...contractCases(),
    ...misuseCases(),
    ...castCases(),
    ...attentionContractCases(sizes),
    ...dtypes.flatMap((dtype) => kernels.map((kernelCase) => conformanceCase(kernelCase, dtype, dtypes.length > 1))),
  ]
  return withLacks(cases, lacks)
}

function conformanceCase(kernelCase: KernelCase, dtype: DType, named: boolean): ConformanceCase {
  return {
    group: named ? `${kernelCase.group} ${dtype}` : kernelCase.group,
    name: kernelCase.name,
    run: (backend, oracle) => checkKernelCase(kernelCase, backend, oracle, dtype),
  }
}
