// float32 ↔ float16 and bfloat16, to nearest with ties to even, any NaN to the one quiet NaN. Integer arithmetic without branches: loops over it
// become vector code on every target, and results agree with core-math/src/half.ts bit for bit (F16C keeps NaN payloads).
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

TILEGRAD_INLINE uint32_t bitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
TILEGRAD_INLINE float floatOf(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

struct Float32 {
  using Storage = float;
  static TILEGRAD_INLINE float decode(float x) { return x; }
  static TILEGRAD_INLINE float encode(float x) { return x; }
};

struct Float16 {
  using Storage = uint16_t;
  static TILEGRAD_INLINE float decode(uint16_t half) {
    const uint32_t magnitude = uint32_t(half & 0x7fff) << 13;
    const uint32_t rebias = 112u << 23;
    // Subnormals: 2^-14·(1 + m) − 2^-14 with m in the mantissa is exact.
    const uint32_t subnormal = bitsOf(floatOf(magnitude + (113u << 23)) - floatOf(113u << 23));
    const uint32_t normal = magnitude + rebias;
    const uint32_t special = magnitude + 2 * rebias;  // ∞ and NaN
    const uint32_t bits = magnitude < 0x00800000u ? subnormal : magnitude >= 0x0f800000u ? special : normal;
    return floatOf(bits | uint32_t(half & 0x8000) << 16);
  }
  static TILEGRAD_INLINE uint16_t encode(float x) {
    const uint32_t bits = bitsOf(x);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    const uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    // Beside ½ the spacing of float32 is 2^-24, that of subnormal halves: the addition rounds.
    const uint32_t subnormal = bitsOf(floatOf(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = magnitude < 0x38800000u ? subnormal : magnitude >= 0x477ff000u ? 0x7c00u : normal;
    return uint16_t(magnitude > 0x7f800000u ? 0x7e00u : sign | finite);
  }
};

struct BFloat16 {
  using Storage = uint16_t;
  static TILEGRAD_INLINE float decode(uint16_t half) { return floatOf(uint32_t(half) << 16); }
  static TILEGRAD_INLINE uint16_t encode(float x) {
    const uint32_t bits = bitsOf(x);
    return uint16_t((bits & 0x7fffffff) > 0x7f800000u ? 0x7fc0u : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
