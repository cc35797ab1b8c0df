import { combinations, defineShader } from '../shader'
import text from '../shaders/fma-peak.wgsl'

/** Invocations of a workgroup. */
export const WORKGROUP = 64

export const fmaPeak = defineShader('fma-peak', text, combinations({ FUSED: [true, false], WORKGROUP: [WORKGROUP] }))
