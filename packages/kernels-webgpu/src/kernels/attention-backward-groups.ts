import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import dkdvText from '../shaders/attention-backward-dkdv-groups.wgsl'
import dqText from '../shaders/attention-backward-dq-groups.wgsl'
import { attentionBackwardGroupsLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { type Packed, sumByPair } from './attention-backward-packed'
import { GROUP_TILES, type GroupTile, ownRows } from './attention-backward-plan'

const constantsOf = (tile: GroupTile): Constants => ({ SUBGROUPS: true, Vector: 'vec4<f32>', ...tile })

const variants = GROUP_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, ...constantsOf(tile) })))
export const attentionBackwardDkdvGroups = defineShader(
  'attention-backward-dkdv-groups',
  dkdvText,
  variants,
  attentionBackwardGroupsLibraries,
)
export const attentionBackwardDqGroups = defineShader('attention-backward-dq-groups', dqText, variants, attentionBackwardGroupsLibraries)

/** Enqueues dK, dV and dQ. @returns see sumByPair */
export function sumByGroups(ctx: KernelContext, packed: Packed, tile: GroupTile): WebGPUTensor {
  return sumByPair(ctx, packed, {
    dkdv: attentionBackwardDkdvGroups,
    dq: attentionBackwardDqGroups,
    constants: constantsOf(tile),
    blockM: ownRows(tile),
    blockN: ownRows(tile),
    workgroup: tile.WORKGROUP,
  })
}
