// Reductions over one contiguous row, in a fixed order: four vectors of running results (independent, so that additions overlap), merged pairwise.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Σ_i term(i, lanes) for i in 0 … n; lanes past the end must be 0.
template <class F>
TILEGRAD_INLINE float sumOver(int64_t n, F&& term) {
  VF sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) sum[v] += term(i + v * kLanes, WholeVector{});
  forVectors(i, n, [&](int64_t j, auto lanes) { sum[0] += term(j, lanes); });
  return sumLanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// max_i term(i, lanes), −∞ for n = 0; lanes past the end must be −∞.
template <class F>
TILEGRAD_INLINE float maxOver(int64_t n, F&& term) {
  VF best[4];
  for (int v = 0; v < 4; v++) best[v] = splat(-__builtin_inff());
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) best[v] = max(best[v], term(i + v * kLanes, WholeVector{}));
  forVectors(i, n, [&](int64_t j, auto lanes) { best[0] = max(best[0], term(j, lanes)); });
  return maxLanes(max(max(best[0], best[1]), max(best[2], best[3])));
}

}  // namespace tilegrad::TILEGRAD_TARGET
