import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bf16BitsToF32,
  bf16BitsToF32Array,
  f16BitsToF32,
  f16BitsToF32Array,
  f32ArrayToBF16Bits,
  f32ArrayToF16Bits,
  f32ToBF16Bits,
  f32ToF16Bits,
} from './half'

/** The value by the definition of the format: sign · significand · 2^exponent. */
function definedValue(bits: number, mantissaBits: number, exponentBits: number): number {
  const bias = 2 ** (exponentBits - 1) - 1
  const sign = bits >= 0x8000 ? -1 : 1
  const exponent = Math.floor((bits % 0x8000) / 2 ** mantissaBits)
  const fraction = (bits % 2 ** mantissaBits) / 2 ** mantissaBits
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias)
}

const formats = [
  { name: 'f16', mantissaBits: 10, exponentBits: 5, decode: f16BitsToF32, encode: f32ToF16Bits, infinity: 0x7c00, nan: 0x7e00 },
  { name: 'bf16', mantissaBits: 7, exponentBits: 8, decode: bf16BitsToF32, encode: f32ToBF16Bits, infinity: 0x7f80, nan: 0x7fc0 },
] as const

for (const { name, mantissaBits, exponentBits, decode, encode, infinity, nan } of formats) {
  describe(name, () => {
    it('decodes every pattern to the value its format defines', () => {
      const wrong: number[] = []
      for (let bits = 0; bits < 0x10000; bits++) {
        if (!Object.is(decode(bits), definedValue(bits, mantissaBits, exponentBits))) wrong.push(bits)
      }
      expect(wrong).toEqual([])
    })

    it('encodes every decoded pattern to itself, NaNs to the quiet NaN', () => {
      const wrong: number[] = []
      for (let bits = 0; bits < 0x10000; bits++) {
        const value = decode(bits)
        if (encode(value) !== (Number.isNaN(value) ? nan : bits)) wrong.push(bits)
      }
      expect(wrong).toEqual([])
    })

    it('rounds between every two neighbours to the nearer, ties to even, overflow to infinity', () => {
      const wrong: number[] = []
      for (let bits = 0; bits < infinity; bits++) {
        const low = decode(bits)
        // The neighbour above the largest finite number is the power of two where infinity stands.
        const high = bits + 1 === infinity ? 2 ** (2 ** (exponentBits - 1)) : decode(bits + 1)
        const middle = (low + high) / 2
        const even = bits % 2 === 0 ? bits : bits + 1
        const below = middle - (high - low) * 2 ** -30
        const above = middle + (high - low) * 2 ** -30
        for (const [value, expected] of [
          [middle, even],
          [below, bits],
          [above, bits + 1],
        ] as const) {
          if (encode(value) !== expected || encode(-value) !== expected + 0x8000) wrong.push(value)
        }
      }
      expect(wrong).toEqual([])
    })

    it('is monotonic and idempotent on any double', () => {
      fc.assert(
        fc.property(fc.double({ noNaN: true }), fc.double({ noNaN: true }), (a, b) => {
          const [low, high] = a < b ? [a, b] : [b, a]
          expect(decode(encode(low))).toBeLessThanOrEqual(decode(encode(high)))
          expect(encode(decode(encode(a)))).toBe(encode(a))
        }),
      )
    })
  })
}

it('converts arrays element by element', () => {
  const values = [0, -0, 1, -2.5, 65504, 1e-7, Number.POSITIVE_INFINITY, Number.NaN]
  expect([...f32ArrayToF16Bits(values)]).toEqual(values.map(f32ToF16Bits))
  expect([...f32ArrayToBF16Bits(values)]).toEqual(values.map(f32ToBF16Bits))
  const bits = [0, 0x8000, 0x3c00, 0x7c00, 0x0001]
  expect([...f16BitsToF32Array(bits)]).toEqual(bits.map(f16BitsToF32))
  expect([...bf16BitsToF32Array(bits)]).toEqual(bits.map(bf16BitsToF32))
})
