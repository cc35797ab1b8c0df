// Online softmax of a strip of rows, in base 2: scores arrive multiplied by log2(e), so that each exponential is one exp2.
// Mirrors core-math/src/softmax.ts (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention-2, arXiv 2307.08691, §3.1).
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// rowMax is in base-2 units. rowSum stays spread over the lanes until the end: one horizontal sum per row instead of one per tile.
template <int MR>
struct OnlineSoftmax {
  float rowMax[MR];
  VF rowSum[MR];

  void reset() {
    for (int r = 0; r < MR; r++) {
      rowMax[r] = -__builtin_inff();
      rowSum[r] = VF{};
    }
  }

  // Turns the scores of row r into probabilities relative to the new maximum, in place, and returns the factor by which what was
  // accumulated before has to be multiplied. `tileMax` is the maximum of the row's scores in this tile.
  TILEGRAD_INLINE float update(int r, float tileMax, float* scores, int64_t count) {
    const float oldMax = rowMax[r];
    const float newMax = tileMax > oldMax ? tileMax : oldMax;
    // A row that has seen no key yet keeps −∞ as its maximum; subtracting 0 instead leaves exp2(−∞) = 0 and makes no NaN.
    const float shift = newMax == -__builtin_inff() ? 0.0f : newMax;
    const VF shiftV = splat(shift);
    VF sum0 = {}, sum1 = {};
    int64_t j = 0;
    for (; j + 2 * kLanes <= count; j += 2 * kLanes) {
      const VF p0 = exp2(load(scores + j) - shiftV);
      const VF p1 = exp2(load(scores + j + kLanes) - shiftV);
      store(scores + j, p0);
      store(scores + j + kLanes, p1);
      sum0 += p0;
      sum1 += p1;
    }
    for (; j < count; j += kLanes) {
      const VF p0 = exp2(load(scores + j) - shiftV);
      store(scores + j, p0);
      sum0 += p0;
    }
    const float rescale = newMax == oldMax ? 1.0f : exp2(splat(oldMax - shift))[0];
    rowMax[r] = newMax;
    rowSum[r] = rowSum[r] * splat(rescale) + (sum0 + sum1);
    return rescale;
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
