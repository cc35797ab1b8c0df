// Online softmax of a strip of rows, in base 2: scores arrive multiplied by log2(e), so that each exponential is one exp2.
// Mirrors core-math/src/softmax.ts (Milakov and Gimelshein, arXiv 1805.02867; FlashAttention-2, arXiv 2307.08691, §3.1).
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// rowMax is in base-2 units. rowSum stays spread over the lanes until the end: one horizontal sum per row instead of one per tile.
template <int MR>
struct OnlineSoftmax {
  static_assert(MR <= kLanes, "the rows of a strip share one vector");
  VF rowMax;  // lane r: row r
  VF rowSum[MR];
  bool empty;  // no tile has been taken in

  void reset() {
    empty = true;
    rowMax = splat(-__builtin_inff());
    for (int r = 0; r < MR; r++) rowSum[r] = VF{};
  }

  // What a strip needs to take in one tile, for all rows at once: one chain of dependent operations instead of one per row.
  struct Step {
    VF shift;    // lane r is subtracted from the scores of row r
    VF rescale;  // lane r multiplies what row r has accumulated
    bool first;  // nothing has been accumulated
  };
  TILEGRAD_INLINE Step advance(const VF (&tileMax)[MR]) {
    VF max_ = rowMax;
    for (int r = 0; r < MR; r++) max_[r] = maxLanes(tileMax[r]);
    const VF newMax = max(rowMax, max_);
    // A row that has seen no key yet keeps −∞ as its maximum; subtracting 0 instead leaves exp2(−∞) = 0 and makes no NaN.
    const VF shift = select((VI)(newMax == splat(-__builtin_inff())), splat(0.0f), newMax);
    const VF rescale = exp2(rowMax - shift);
    rowMax = newMax;
    const bool first = empty;
    empty = false;
    return {shift, rescale, first};
  }

  // Lane r: the sum of row r.
  VF rowSums() const {
    float sums[kLanes] = {};
    for (int r = 0; r < MR; r++) sums[r] = sumLanes(rowSum[r]);
    return load(sums);
  }

  // Turns `count` scores of row r into probabilities relative to its maximum, in place, and adds them to its sum.
  TILEGRAD_INLINE void exponentiate(int r, float shift, float rescale, float* scores, int64_t count) {
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
    rowSum[r] = mulAdd(rowSum[r], splat(rescale), sum0 + sum1);
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
