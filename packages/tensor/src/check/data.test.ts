import { describe, expect, it } from 'vitest'
import { checkShape, checkTensorData } from './data'

describe('checkTensorData', () => {
  it('infers the dtype from the array', () => {
    expect(checkTensorData(new Float32Array(6), [2, 3])).toBe('f32')
    expect(checkTensorData(new Float64Array(1), [])).toBe('f32')
    expect(checkTensorData([1, 2], [2])).toBe('f32')
    expect(checkTensorData(new Int32Array(0), [0, 4])).toBe('i32')
  })

  it('takes the dtype that the caller names, if the array can hold it', () => {
    expect(checkTensorData([1, 2], [2], 'i32')).toBe('i32')
    expect(checkTensorData(new Uint16Array(2), [2], 'bf16')).toBe('bf16')
    expect(() => checkTensorData(new Float32Array(2), [2], 'f16')).toThrow('data of dtype f16 must be Uint16Array, got Float32Array')
    expect(() => checkTensorData(new Int32Array(2), [2], 'f32')).toThrow('Float32Array or Float64Array or number[], got Int32Array')
    expect(() => checkTensorData([1], [1], 'f64' as 'f32')).toThrow('dtype must be f32, f16, bf16 or i32, got f64')
  })

  it('refuses raw bits without a dtype, a wrong count and axes that are no lengths', () => {
    expect(() => checkTensorData(new Uint16Array(2), [2])).toThrow("'f16' or 'bf16'")
    expect(() => checkTensorData([1, 2, 3], [2, 2])).toThrow('4 elements for shape [2, 2], got 3')
    expect(() => checkTensorData([], [-1])).toThrow('axes that are integers ≥ 0, got [-1]')
    expect(() => checkShape('empty', [1.5])).toThrow('empty: axes that are integers ≥ 0, got [1.5]')
  })
})
