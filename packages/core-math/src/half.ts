/**
 * Conversions between numbers and the bits of the two 16-bit float formats, rounding to nearest, ties to even.
 *
 * The encoders round once, also from a float64 that no float32 represents: going through float32 would round twice.
 */

interface HalfFormat {
  readonly mantissaBits: number
  readonly exponentBias: number
  readonly infinity: number
  readonly quietNaN: number
}

const F16: HalfFormat = { mantissaBits: 10, exponentBias: 15, infinity: 0x7c00, quietNaN: 0x7e00 }
const BF16: HalfFormat = { mantissaBits: 7, exponentBias: 127, infinity: 0x7f80, quietNaN: 0x7fc0 }

// Every JavaScript engine in use is little-endian (WebAssembly requires it): word 1 has the sign and exponent of a double.
const double = /* @__PURE__ */ new Float64Array(1)
const doubleWords = /* @__PURE__ */ new Uint32Array(double.buffer)
const single = /* @__PURE__ */ new Float32Array(1)
const singleWord = /* @__PURE__ */ new Uint32Array(single.buffer)

/** 2**exponent for a normal double. */
function powerOfTwo(exponent: number): number {
  doubleWords[0] = 0
  doubleWords[1] = (exponent + 1023) << 20
  return double[0] as number
}

function encode(x: number, { mantissaBits, exponentBias, infinity, quietNaN }: HalfFormat): number {
  if (Number.isNaN(x)) return quietNaN
  double[0] = x
  const high = doubleWords[1] as number
  const sign = (high >>> 31) << 15
  const magnitude = Math.abs(x)
  if (magnitude === Number.POSITIVE_INFINITY) return sign | infinity
  // Below the smallest normal number the spacing stays that of the smallest exponent.
  const exponent = Math.max(((high >>> 20) & 0x7ff) - 1023, 1 - exponentBias)
  if (exponent > exponentBias) return sign | infinity
  // The significand in units of the last place; adding and subtracting 2^52 rounds it to an integer, ties to even.
  const significand = magnitude * powerOfTwo(mantissaBits - exponent) + 2 ** 52 - 2 ** 52
  // A normal significand has the implicit bit 2^mantissaBits, which adds 1 to the exponent field; a subnormal one has not, and a carry adds another 1.
  return sign | (((exponent + exponentBias - 1) << mantissaBits) + significand)
}

/** Bits of the IEEE 754 binary16 nearest to `x`; overflow gives infinity, any NaN the quiet NaN 0x7e00. */
export function f32ToF16Bits(x: number): number {
  return encode(x, F16)
}

/** Value of IEEE 754 binary16 bits, exact. */
export function f16BitsToF32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const mantissa = bits & 0x3ff
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  if (exponent === 0) return sign * mantissa * powerOfTwo(-24)
  return sign * (mantissa + 1024) * powerOfTwo(exponent - 25)
}

/** Bits of the bfloat16 nearest to `x`; overflow gives infinity, any NaN the quiet NaN 0x7fc0. */
export function f32ToBF16Bits(x: number): number {
  return encode(x, BF16)
}

/** Value of bfloat16 bits, exact: they are the upper half of a float32. */
export function bf16BitsToF32(bits: number): number {
  singleWord[0] = bits << 16
  return single[0] as number
}

/** `f32ToF16Bits` of every element. */
export function f32ArrayToF16Bits(values: ArrayLike<number>): Uint16Array {
  const result = new Uint16Array(values.length)
  for (let i = 0; i < result.length; i++) result[i] = f32ToF16Bits(values[i] as number)
  return result
}

/** `f16BitsToF32` of every element. */
export function f16BitsToF32Array(bits: ArrayLike<number>): Float32Array {
  const result = new Float32Array(bits.length)
  for (let i = 0; i < result.length; i++) result[i] = f16BitsToF32(bits[i] as number)
  return result
}

/** `f32ToBF16Bits` of every element. */
export function f32ArrayToBF16Bits(values: ArrayLike<number>): Uint16Array {
  const result = new Uint16Array(values.length)
  for (let i = 0; i < result.length; i++) result[i] = f32ToBF16Bits(values[i] as number)
  return result
}

/** `bf16BitsToF32` of every element. */
export function bf16BitsToF32Array(bits: ArrayLike<number>): Float32Array {
  const result = new Float32Array(bits.length)
  for (let i = 0; i < result.length; i++) result[i] = bf16BitsToF32(bits[i] as number)
  return result
}
