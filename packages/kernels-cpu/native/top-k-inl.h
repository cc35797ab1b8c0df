// The largest scores of one row seen so far, from the largest down; of equal ones the lower index first. Mirrors core-math/src/top-k.ts.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

struct TopK {
  int64_t size;
  float* scores;  // [size], filled up with −∞
  int32_t* indices;

  void clear() const {
    for (int64_t n = 0; n < size; n++) scores[n] = -__builtin_inff(), indices[n] = -1;
  }

  // Takes in the score of key j; −∞ is a key that is not seen. Keys come in ascending order, so that an equal score goes behind.
  TILEGRAD_INLINE void insert(float score, int32_t j) const {
    if (!(score > scores[size - 1])) return;
    int64_t at = size - 1;
    for (; at > 0 && score > scores[at - 1]; at--) scores[at] = scores[at - 1], indices[at] = indices[at - 1];
    scores[at] = score;
    indices[at] = j;
  }

  // Scores of keys first, first + 1, …: whole vectors without a candidate cost one comparison.
  void insertRow(const float* row, int64_t count, int32_t first) const {
    for (int64_t j = 0; j < count; j += kLanes) {
      if (!(maxLanes(load(row + j)) > scores[size - 1])) continue;
      for (int lane = 0; lane < kLanes && j + lane < count; lane++) insert(row[j + lane], first + int32_t(j) + lane);
    }
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
