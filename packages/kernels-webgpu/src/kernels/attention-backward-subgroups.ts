import type { KernelContext } from '../kernel-context'
import { type Constants, defineShader } from '../shader'
import dkdvText from '../shaders/attention-backward-dkdv-subgroups.wgsl'
import dqText from '../shaders/attention-backward-dq-subgroups.wgsl'
import { attentionBackwardGroupsLibraries } from '../shaders/libraries'
import type { WebGPUTensor } from '../tensor'
import { type Packed, sumByPair } from './attention-backward-packed'
import { GROUP_TILES, type GroupTile, ownRows } from './attention-backward-plan'

const constantsOf = (tile: GroupTile): Constants => ({ SUBGROUPS: true, Vector: 'vec4<f32>', ...tile })

const variants = GROUP_TILES.flatMap((tile) => [false, true].map((GENERAL) => ({ GENERAL, ...constantsOf(tile) })))
const define = (name: string, text: string, emulated: boolean) =>
  defineShader(name, text, variants, attentionBackwardGroupsLibraries(emulated))
export const attentionBackwardDkdvGroups = define('attention-backward-dkdv-subgroups', dkdvText, false)
export const attentionBackwardDkdvEmulatedGroups = define('attention-backward-dkdv-subgroups', dkdvText, true)
export const attentionBackwardDqGroups = define('attention-backward-dq-subgroups', dqText, false)
export const attentionBackwardDqEmulatedGroups = define('attention-backward-dq-subgroups', dqText, true)

/** Enqueues dK, dV and dQ. @returns see sumByPair */
export function sumByGroups(ctx: KernelContext, packed: Packed, tile: GroupTile): WebGPUTensor {
  const emulated = ctx.subgroupSizes?.emulated
  return sumByPair(ctx, packed, {
    dkdv: emulated ? attentionBackwardDkdvEmulatedGroups : attentionBackwardDkdvGroups,
    dq: emulated ? attentionBackwardDqEmulatedGroups : attentionBackwardDqGroups,
    constants: constantsOf(tile),
    blockM: ownRows(tile),
    blockN: ownRows(tile),
    workgroup: tile.WORKGROUP,
  })
}
