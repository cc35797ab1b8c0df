// Hides the scores of a partial tile that its rows may not see. Mirrors core-math/src/mask.ts.
#pragma once
#include "schedule-inl.h"
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// row[0 … keyEnd − keyBegin) are the scores of query i for keys [keyBegin, keyEnd); those outside the band or past seqlenK become `hidden`.
inline void maskRow(const Schedule& schedule, int64_t i, int64_t keyBegin, int64_t keyEnd, float* row, float hidden) {
  const Range keys = schedule.visibleKeys(i);
  const int64_t before = minOf(keyEnd, keys.begin) - keyBegin;
  const int64_t after = maxOf(keyBegin, keys.end) - keyBegin;  // where the row sees nothing, before and after meet and hide all
  for (int64_t j = 0; j < before; j++) row[j] = hidden;
  for (int64_t j = after; j < keyEnd - keyBegin; j++) row[j] = hidden;
}

}  // namespace tilegrad::TILEGRAD_TARGET
