import { createWebGPUBackend, type WebGPUBackend } from '@tilegrad/kernels-webgpu'
import type { ElementType } from '../check'
import { type Contender, type WebGPUVariant, webgpuVariants } from '../job'

export function isWebGPUVariant(contender: Contender): contender is WebGPUVariant {
  return (webgpuVariants as readonly Contender[]).includes(contender)
}

/** What a contender computes with. */
export function typeOf(contender: Contender): ElementType {
  return variantsOf(contender).includes('f16') ? 'f16' : 'f32'
}

/** Whether it uses units of the GPU whose peak is not that of multiply-adds. */
export function matrixUnits(contender: Contender): boolean {
  return variantsOf(contender).includes('subgroup-matrix')
}

function variantsOf(contender: Contender): readonly string[] {
  return contender.split(':')[1]?.split('+') ?? []
}

/** The adapter that all contenders of a run ask for. */
export const powerPreference = 'high-performance'

export function openWebGPU(contender: WebGPUVariant): Promise<WebGPUBackend> {
  return createWebGPUBackend({ powerPreference, subgroupMatrix: matrixUnits(contender) })
}
