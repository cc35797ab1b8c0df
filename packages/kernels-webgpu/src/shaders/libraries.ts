/// <reference path="../wgsl.d.ts" />
import type { WgslFile } from '../shader'
import activations from './activations.wgsl'
import elements from './elements.wgsl'
import reduce from './reduce.wgsl'

/** Files of functions that several shaders use. */
export const activationsWgsl: WgslFile = { name: 'activations.wgsl', text: activations }
export const elementsWgsl: WgslFile = { name: 'elements.wgsl', text: elements }
export const reduceWgsl: WgslFile = { name: 'reduce.wgsl', text: reduce }
