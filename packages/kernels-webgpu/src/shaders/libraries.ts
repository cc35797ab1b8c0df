/// <reference path="../wgsl.d.ts" />
import type { WgslFile } from '../shader'
import elements from './elements.wgsl'

/** Files of functions that several shaders use. */
export const elementsWgsl: WgslFile = { name: 'elements.wgsl', text: elements }
