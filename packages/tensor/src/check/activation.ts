import type { Backend } from '../backend'
import type { OutOptions } from '../kernels'
import type { Tensor } from '../tensor'
import { checkOptions } from './common'
import { checkElementwise, type ElementwiseProblem } from './elementwise'

export function checkGeluForward(backend: Backend, x: Tensor, options: OutOptions = {}): ElementwiseProblem {
  return checkElementwise('geluForward', backend, { x }, options)
}

export function checkGeluBackward(backend: Backend, dout: Tensor, x: Tensor, options: OutOptions = {}): ElementwiseProblem {
  return checkElementwise('geluBackward', backend, { x, dout }, options)
}

export function checkSwigluForward(backend: Backend, gate: Tensor, up: Tensor, options: OutOptions = {}): ElementwiseProblem {
  return checkElementwise('swigluForward', backend, { gate, up }, options)
}

export function checkSwigluBackward(backend: Backend, dout: Tensor, gate: Tensor, up: Tensor, options: object = {}): ElementwiseProblem {
  checkOptions('swigluBackward', options, [])
  return checkElementwise('swigluBackward', backend, { gate, up, dout }, {})
}
