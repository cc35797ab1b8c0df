// Vectors of kLanes floats in the compiler's portable vector extension, at the width of the target that this file is compiled for.
// Intrinsics appear only where the extension has no word for the operation.
#pragma once
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

namespace tilegrad::TILEGRAD_TARGET {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float VF __attribute__((vector_size(kVectorBytes)));
typedef int32_t VI __attribute__((vector_size(kVectorBytes)));
typedef float VFUnaligned __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

#define TILEGRAD_INLINE inline __attribute__((always_inline))

TILEGRAD_INLINE VF load(const float* p) { return *reinterpret_cast<const VFUnaligned*>(p); }
TILEGRAD_INLINE void store(float* p, VF v) { *reinterpret_cast<VFUnaligned*>(p) = v; }
// x − 0 is x for every x, so compilers drop the subtraction; 0 + x would turn −0 into 0 and cost an instruction.
TILEGRAD_INLINE VF splat(float x) { return x - VF{}; }
TILEGRAD_INLINE VI splatInt(int32_t x) { return VI{} + x; }

// 0, 1, 2, … by lane.
TILEGRAD_INLINE VI iota() {
#if defined(__AVX512F__)
  return VI{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
  return VI{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return VI{0, 1, 2, 3};
#endif
}

// The first n < kLanes floats, the rest 0. Never reads past p + n.
TILEGRAD_INLINE VF loadPartial(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return (VF)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
#elif defined(__AVX2__)
  return (VF)_mm256_maskload_ps(p, (__m256i)(iota() < splatInt(int32_t(n))));
#else
  VF v = {};
  if (n > 0) v[0] = p[0];
  if (n > 1) v[1] = p[1];
  if (n > 2) v[2] = p[2];
  return v;
#endif
}
TILEGRAD_INLINE void storePartial(float* p, VF v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, (__m256i)(iota() < splatInt(int32_t(n))), (__m256)v);
#else
  if (n > 0) p[0] = v[0];
  if (n > 1) p[1] = v[1];
  if (n > 2) p[2] = v[2];
#endif
}

// a·b + c, fused where the target has FMA (-ffp-contract=fast). The WASM baseline rounds twice; the instruction of relaxed SIMD is fused if the processor
// has FMA and rounds twice if not, always the same way on one device: there results are bit-identical per device, not across devices.
TILEGRAD_INLINE VF mulAdd(VF a, VF b, VF c) {
#if defined(__wasm_relaxed_simd__)
  return (VF)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c);
#else
  return a * b + c;
#endif
}

// Bitwise choice: `mask` lanes are all ones or all zeros, as comparisons give them.
TILEGRAD_INLINE VF select(VI mask, VF yes, VF no) { return (VF)(((VI)yes & mask) | ((VI)no & ~mask)); }
TILEGRAD_INLINE VF abs(VF a) { return (VF)((VI)a & splatInt(0x7fffffff)); }

TILEGRAD_INLINE VF sqrt(VF a) {
#if defined(__AVX512F__)
  return (VF)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (VF)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
  return (VF)_mm_sqrt_ps((__m128)a);
#elif defined(__wasm_simd128__)
  return (VF)wasm_f32x4_sqrt((v128_t)a);
#else
  VF r;
  for (int i = 0; i < kLanes; i++) r[i] = __builtin_sqrtf(a[i]);
  return r;
#endif
}

// a > b ? a : b on every target: where either is NaN the result is b, so a clamp that must let NaN through has the variable second.
TILEGRAD_INLINE VF max(VF a, VF b) {
#if defined(__AVX512F__)
  return (VF)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (VF)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (VF)_mm_max_ps((__m128)a, (__m128)b);
#elif defined(__wasm_simd128__)
  return (VF)wasm_f32x4_pmax((v128_t)b, (v128_t)a);
#else
  return select((VI)(a > b), a, b);
#endif
}
// a < b ? a : b; NaN as in max.
TILEGRAD_INLINE VF min(VF a, VF b) {
#if defined(__AVX512F__)
  return (VF)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (VF)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (VF)_mm_min_ps((__m128)a, (__m128)b);
#elif defined(__wasm_simd128__)
  return (VF)wasm_f32x4_pmin((v128_t)b, (v128_t)a);
#else
  return select((VI)(a < b), a, b);
#endif
}

// The halves of each group of 2·width lanes, exchanged.
template <int width>
TILEGRAD_INLINE VF swapHalves(VF v) {
#if defined(__AVX512F__)
  return width == 8   ? __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)
         : width == 4 ? __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
         : width == 2 ? __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
                      : __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif defined(__AVX2__)
  return width == 4   ? __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3)
         : width == 2 ? __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5)
                      : __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
  return width == 2 ? __builtin_shufflevector(v, v, 2, 3, 0, 1) : __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

// Pairwise, so that the result does not depend on how the compiler would reduce.
template <int width = kLanes / 2>
TILEGRAD_INLINE float sumLanes(VF v) {
  v += swapHalves<width>(v);
  if constexpr (width > 1) return sumLanes<width / 2>(v);
  return v[0];
}
template <int width = kLanes / 2>
TILEGRAD_INLINE float maxLanes(VF v) {
  v = max(v, swapHalves<width>(v));
  if constexpr (width > 1) return maxLanes<width / 2>(v);
  return v[0];
}

// The maximum over each group of 2·width lanes, in all of them; width 0: v itself.
template <int width>
TILEGRAD_INLINE VF maxAll(VF v) {
  if constexpr (width == 0) {
    return v;
  } else {
    return maxAll<width / 2>(max(v, swapHalves<width>(v)));
  }
}

// 2^x, relative error below 1.5 ulp, exactly 0 at −∞ and below −127, exactly 1 at 0; x ≤ 127. Polynomial: minimax of degree 6 on [−½, ½] with
// constant term 1 (error 2e-9, below float32 rounding). Rounding to an integer by adding 1.5·2^23 leaves that integer in the low bits.
TILEGRAD_INLINE VF exp2(VF x) {
  const VF magic = splat(12582912.0f);
  x = max(splat(-127.0f), x);
  const VF shifted = x + magic;
  const VF f = x - (shifted - magic);
  VF p = splat(0.00015353361959569156f);
  p = mulAdd(p, f, splat(0.0013398875016719103f));
  p = mulAdd(p, f, splat(0.00961843691766262f));
  p = mulAdd(p, f, splat(0.055503323674201965f));
  p = mulAdd(p, f, splat(0.24022647738456726f));
  p = mulAdd(p, f, splat(0.6931471824645996f));
  p = mulAdd(p, f, splat(1.0f));
  return (VF)((VI)p + ((VI)shifted << 23));
}

// The value rounded to float32, where the compiler would otherwise fuse the product behind it into a following addition. For differences that must be
// exactly 0 when their terms are equal.
TILEGRAD_INLINE VF rounded(VF product) {
#if defined(__AVX512F__)
  asm("" : "+v"(product));
#elif defined(__SSE2__)
  asm("" : "+x"(product));
#elif defined(__aarch64__)
  asm("" : "+w"(product));
#endif
  return product;
}

// Lanes of a and b by turns: a0 b0 a1 b1 … from their first halves, or from their second halves.
TILEGRAD_INLINE VF interleaveLow(VF a, VF b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
TILEGRAD_INLINE VF interleaveHigh(VF a, VF b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// Lane j of row i becomes lane i of row j, in log2(kLanes) perfect shuffles.
TILEGRAD_INLINE void transpose(VF (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int stage = 1; stage < kLanes; stage *= 2) {
    VF next[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; i++) {
      next[2 * i] = interleaveLow(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = interleaveHigh(rows[i], rows[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) rows[i] = next[i];
  }
}

// What forVectors hands to its body: a whole vector, or the n < kLanes floats at the end of a row.
struct WholeVector {
  static constexpr int64_t count = kLanes;
  TILEGRAD_INLINE VF load(const float* p) const { return TILEGRAD_TARGET::load(p); }
  TILEGRAD_INLINE void store(float* p, VF v) const { TILEGRAD_TARGET::store(p, v); }
  // v, with `fill` in the lanes past the end.
  TILEGRAD_INLINE VF keep(VF v, float) const { return v; }
};
struct PartialVector {
  int64_t count;
  TILEGRAD_INLINE VF load(const float* p) const { return loadPartial(p, count); }
  TILEGRAD_INLINE void store(float* p, VF v) const { storePartial(p, v, count); }
  TILEGRAD_INLINE VF keep(VF v, float fill) const { return select((VI)(iota() < splatInt(int32_t(count))), v, splat(fill)); }
};

// body(i, lanes) for the vectors that start at i = begin, begin + kLanes, …; the last may be partial.
template <class F>
TILEGRAD_INLINE void forVectors(int64_t begin, int64_t end, F&& body) {
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(i, WholeVector{});
  if (i < end) body(i, PartialVector{end - i});
}

constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2 = 0.69314718055994531f;

// e^x; the argument is reduced in two parts of ln 2, so that the relative error stays below 2 ulp for large |x| too. 0 below −87.3; above 88.72, just under
// the largest that float32 holds, it stays there.
TILEGRAD_INLINE VF exp(VF x) {
  const VF magic = splat(12582912.0f);
  const VF tooSmall = x;
  x = min(splat(88.72f), max(splat(-87.3f), x));
  const VF shifted = mulAdd(x, splat(kLog2e), magic);
  const VF n = shifted - magic;
  VF r = mulAdd(n, splat(-0.693145751953125f), x);
  r = mulAdd(n, splat(-1.42860682030941723e-6f), r);
  const VF f = r * splat(kLog2e);
  VF p = splat(0.00015353361959569156f);
  p = mulAdd(p, f, splat(0.0013398875016719103f));
  p = mulAdd(p, f, splat(0.00961843691766262f));
  p = mulAdd(p, f, splat(0.055503323674201965f));
  p = mulAdd(p, f, splat(0.24022647738456726f));
  p = mulAdd(p, f, splat(0.6931471824645996f));
  p = mulAdd(p, f, splat(1.0f));
  const VF y = (VF)((VI)p + ((VI)shifted << 23));
  return select((VI)(tooSmall < splat(-87.3f)), splat(0.0f), y);
}

// Relative error below 3 ulp everywhere: an odd minimax polynomial (error 4e-9) below 0.625, 1 − 2/(e^2|x| + 1) above.
TILEGRAD_INLINE VF tanh(VF x) {
  const VF a = abs(x);
  const VF z = x * x;
  VF p = splat(-0.005704985931515694f);
  p = mulAdd(p, z, splat(0.02063908614218235f));
  p = mulAdd(p, z, splat(-0.05373971536755562f));
  p = mulAdd(p, z, splat(0.13331441581249237f));
  p = mulAdd(p, z, splat(-0.3333328068256378f));
  const VF small = mulAdd(p * z, x, x);
  const VF e = exp(min(splat(10.0f), a) * splat(2.0f));
  const VF big = splat(1.0f) - splat(2.0f) / (e + splat(1.0f));
  const VF signedBig = (VF)((VI)big | ((VI)x & splatInt(int32_t(0x80000000u))));
  return select((VI)(a < splat(0.625f)), small, signedBig);
}

// ln x for finite x > 0: x = 2^e·(1 + f), ln(1 + f) by a minimax polynomial on [√½, √2) (error 1e-9).
TILEGRAD_INLINE VF log(VF x) {
  const VI subnormal = (VI)(x < splat(1.17549435e-38f));
  VI bits = (VI)select(subnormal, x * splat(8388608.0f), x);
  const VI e = (bits - splatInt(0x3f3504f3)) >> 23;
  bits -= e << 23;
  const VF exponent = __builtin_convertvector(e - (subnormal & splatInt(23)), VF);
  const VF f = (VF)bits - splat(1.0f);
  VF p = splat(0.06746605783700943f);
  p = mulAdd(p, f, splat(-0.11675623804330826f));
  p = mulAdd(p, f, splat(0.11888162046670914f));
  p = mulAdd(p, f, splat(-0.12405592948198318f));
  p = mulAdd(p, f, splat(0.14219552278518677f));
  p = mulAdd(p, f, splat(-0.1666799634695053f));
  p = mulAdd(p, f, splat(0.2000211924314499f));
  p = mulAdd(p, f, splat(-0.25000008940696716f));
  p = mulAdd(p, f, splat(0.3333331346511841f));
  const VF square = f * f;
  const VF tail = mulAdd(p * f, square, splat(-0.5f) * square);
  // The low part of ln 2 first: it is what float32 would lose beside e·ln 2.
  return mulAdd(exponent, splat(0.693145751953125f), f + mulAdd(exponent, splat(1.42860682030941723e-6f), tail));
}
inline float logScalar(float x) { return log(splat(x))[0]; }

}  // namespace tilegrad::TILEGRAD_TARGET
