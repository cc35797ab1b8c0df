import type { KernelCase } from '../../kernel-case'
import type { ConformanceCase } from '../conformance-case'
import type { Sizes } from '../sizes'
import { blockMaskCases } from './block-mask'
import { dropoutCases, dropoutMaskCases } from './dropout'
import { gridCases } from './grid'
import { inspectionCases } from './inspection'
import { alibiCases, biasCases, sinkCases } from './learnable'
import { memoryCases } from './memory'
import { pairCases } from './pairs'
import { probabilitiesCases, probabilitiesContractCases } from './probabilities'
import { varlenCases } from './varlen'

/** Attention, forward and backward: the grid, each option alone, and every pair of options. A group for each option. */
export function attentionCases(sizes: Sizes): KernelCase[] {
  const families = [
    gridCases,
    alibiCases,
    biasCases,
    sinkCases,
    dropoutCases,
    varlenCases,
    blockMaskCases,
    pairCases,
    inspectionCases,
    probabilitiesCases,
  ]
  return families.flatMap((cases) => cases(sizes))
}

/** What attention promises that no comparison with the oracle shows. */
export function attentionContractCases(sizes: Sizes): ConformanceCase[] {
  return [...dropoutMaskCases(sizes), ...probabilitiesContractCases(), ...memoryCases()]
}
