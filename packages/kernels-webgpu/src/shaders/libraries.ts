/// <reference path="../wgsl.d.ts" />
import type { WgslFile } from '../shader'
import activations from './activations.wgsl'
import attentionBackwardProducts from './attention-backward-products.wgsl'
import attentionBackwardGroups from './attention-backward-subgroups.wgsl'
import attentionBackwardTile from './attention-backward-tile.wgsl'
import attentionForwardRows from './attention-forward-rows.wgsl'
import attentionForwardTile from './attention-forward-tile.wgsl'
import attentionPair from './attention-pair.wgsl'
import attentionProblem from './attention-problem.wgsl'
import elements from './elements.wgsl'
import lanes from './lanes.wgsl'
import mask from './mask.wgsl'
import philox from './philox.wgsl'
import reduce from './reduce.wgsl'
import schedule from './schedule.wgsl'
import score from './score.wgsl'
import subgroup from './subgroup.wgsl'
import subgroupEmulated from './subgroup-emulated.wgsl'
import texels from './texels.wgsl'

/** Files of functions that several shaders use. */
export const activationsWgsl: WgslFile = { name: 'activations.wgsl', text: activations }
export const elementsWgsl: WgslFile = { name: 'elements.wgsl', text: elements }
export const texelsWgsl: WgslFile = { name: 'texels.wgsl', text: texels }
export const reduceWgsl: WgslFile = { name: 'reduce.wgsl', text: reduce }

/** What every kernel of attention is compiled with. They declare `tables` and `bias`, and define GENERAL: whether options other than scale and band are on. */
export const attentionLibraries: readonly WgslFile[] = [
  { name: 'attention-problem.wgsl', text: attentionProblem },
  { name: 'schedule.wgsl', text: schedule },
  { name: 'mask.wgsl', text: mask },
  { name: 'score.wgsl', text: score },
  { name: 'philox.wgsl', text: philox },
]

export const attentionForwardLibraries: readonly WgslFile[] = [
  ...attentionLibraries,
  { name: 'attention-forward-tile.wgsl', text: attentionForwardTile },
]

export const attentionForwardRowsLibraries: readonly WgslFile[] = [
  ...attentionForwardLibraries,
  texelsWgsl,
  { name: 'attention-forward-rows.wgsl', text: attentionForwardRows },
]

/** Groups of lanes of subgroups, or of what stands in for them in tests. */
const lanesLibraries = (emulated: boolean): readonly WgslFile[] => [
  emulated ? { name: 'subgroup-emulated.wgsl', text: subgroupEmulated } : { name: 'subgroup.wgsl', text: subgroup },
  { name: 'lanes.wgsl', text: lanes },
]

/** The same for kernels that divide rows by groups of lanes. */
export const attentionForwardGroupsLibraries = (emulated: boolean): readonly WgslFile[] => [
  ...attentionForwardLibraries,
  ...lanesLibraries(emulated),
]

export const attentionBackwardLibraries: readonly WgslFile[] = [
  ...attentionLibraries,
  { name: 'attention-backward-tile.wgsl', text: attentionBackwardTile },
]

/** The same for kernels that go by way of workgroup memory. */
export const attentionBackwardTilesLibraries: readonly WgslFile[] = [
  ...attentionBackwardLibraries,
  { name: 'attention-backward-products.wgsl', text: attentionBackwardProducts },
]

/** The same for kernels that divide rows by groups of lanes. */
export const attentionBackwardGroupsLibraries = (emulated: boolean): readonly WgslFile[] => [
  ...attentionBackwardLibraries,
  ...lanesLibraries(emulated),
  { name: 'attention-backward-subgroups.wgsl', text: attentionBackwardGroups },
]

export const attentionInspectionLibraries: readonly WgslFile[] = [
  ...attentionLibraries,
  { name: 'attention-pair.wgsl', text: attentionPair },
]
