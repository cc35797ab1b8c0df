import type { KernelCase } from '../kernel-case'
import { attentionCases } from './attention'
import { elementwiseCases } from './elementwise'
import { lookupCases } from './lookup'
import { lossCases } from './loss'
import { matmulCases } from './matmul'
import { optimizerCases } from './optimizer'
import { rowCases } from './rows'
import type { Sizes } from './sizes'

/** The cases of every kernel, each once: a name holds all that makes a case. */
export function kernelCases(sizes: Sizes): KernelCase[] {
  const families = [attentionCases, matmulCases, rowCases, elementwiseCases, lookupCases, lossCases, optimizerCases]
  const cases = families.flatMap((family) => family(sizes))
  return [...new Map(cases.map((kernelCase) => [`${kernelCase.group} ${kernelCase.name}`, kernelCase])).values()]
}
