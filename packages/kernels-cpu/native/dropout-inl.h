// Which probabilities dropout keeps: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), kLanes counters at a
// time. Word j mod 4 of counter (⌊j/4⌋, i, b·Hq + h, 0) belongs to query i and key j. Mirrors core-math/src/philox.ts.
// About 3 operations per key with 16 lanes.
#pragma once
#include "engine.h"
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

typedef uint32_t VU __attribute__((vector_size(kVectorBytes)));
typedef uint64_t VU64 __attribute__((vector_size(kVectorBytes)));

// The 64-bit products of the even lanes of a with m.
TILEGRAD_INLINE VU64 multiplyEven(VU64 a, uint32_t m) {
#if defined(__AVX512F__)
  return (VU64)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
  return (VU64)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__SSE2__)
  return (VU64)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
  return (a & (VU64{} + 0xffffffffu)) * (VU64{} + m);
#endif
}

struct WideProduct {
  VU high, low;
};
TILEGRAD_INLINE WideProduct multiplyWide(VU a, uint32_t m) {
#if defined(__wasm_simd128__)
  const v128_t factor = wasm_u32x4_splat(m);
  const v128_t first = wasm_u64x2_extmul_low_u32x4((v128_t)a, factor), last = wasm_u64x2_extmul_high_u32x4((v128_t)a, factor);
  return {(VU)wasm_i32x4_shuffle(first, last, 1, 3, 5, 7), (VU)wasm_i32x4_shuffle(first, last, 0, 2, 4, 6)};
#else
  const VU64 lowHalf = VU64{} + 0xffffffffu, even = multiplyEven((VU64)a, m), odd = multiplyEven((VU64)a >> 32, m);
  return {(VU)((even >> 32) | (odd & ~lowHalf)), (VU)((even & lowHalf) | (odd << 32))};
#endif
}

struct Dropout {
  uint32_t threshold;  // a probability is kept iff its word is at least this; 0: no dropout
  float keepScale;     // 1/(1 − dropoutP)
  uint32_t key0, key1;

  // Arguments: threshold, keepScale, the seed's low and high 32 bits.
  explicit Dropout(Reader& args) {
    threshold = uint32_t(args.i64()), keepScale = args.f32();
    key0 = uint32_t(args.i64()), key1 = uint32_t(args.i64());
  }

  // For keys [4·counter, 4·counter + 4·kLanes): all ones in lanes that are kept.
  TILEGRAD_INLINE void kept(uint32_t counter, uint32_t i, uint32_t head, VI (&keys)[4]) const {
    VU c0 = (VU)iota() + counter, c1 = VU{} + i, c2 = VU{} + head, c3 = VU{};
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; round++) {
      const WideProduct p0 = multiplyWide(c0, 0xd2511f53u), p1 = multiplyWide(c2, 0xcd9e8d57u);
      c0 = p1.high ^ c1 ^ k0;
      c1 = p1.low;
      c2 = p0.high ^ c3 ^ k1;
      c3 = p0.low;
      k0 += 0x9e3779b9u, k1 += 0xbb67ae85u;
    }
    // Lane l of word w is key 4·l + w: two rounds of interleaving put them in order.
    const VF w0 = atLeast(c0), w1 = atLeast(c1), w2 = atLeast(c2), w3 = atLeast(c3);
    const VF evenLow = interleaveLow(w0, w2), oddLow = interleaveLow(w1, w3);
    const VF evenHigh = interleaveHigh(w0, w2), oddHigh = interleaveHigh(w1, w3);
    keys[0] = (VI)interleaveLow(evenLow, oddLow), keys[1] = (VI)interleaveHigh(evenLow, oddLow);
    keys[2] = (VI)interleaveLow(evenHigh, oddHigh), keys[3] = (VI)interleaveHigh(evenHigh, oddHigh);
  }

  // row[0 … count) are values of query i for keys keyBegin on, a multiple of 4: those that are dropped become 0.
  void dropRow(int64_t i, int64_t head, int64_t keyBegin, int64_t count, float* row) const {
    for (int64_t j = 0; j < count; j += 4 * kLanes) {
      VI keys[4];
      kept(uint32_t((keyBegin + j) / 4), uint32_t(i), uint32_t(head), keys);
      for (int64_t v = 0; v < 4 && j + v * kLanes < count; v++) {
        float* at = row + j + v * kLanes;
        store(at, (VF)((VI)load(at) & keys[v]));
      }
    }
  }

 private:
  TILEGRAD_INLINE VF atLeast(VU word) const {
    // Compared as signed numbers, which every instruction set can: the sign bits are turned over.
    const VI flipped = (VI)(word ^ 0x80000000u);
    return (VF)(VI)(flipped >= splatInt(int32_t(threshold ^ 0x80000000u)));
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
