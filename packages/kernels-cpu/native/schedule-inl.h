// Which keys a run of query rows sees, and which queries a run of keys is seen by. The one place for causal masks and windows; whatever is skipped
// in forward, dQ and dK/dV is skipped because of what stands here. Mirrors core-math/src/schedule.ts and mask.ts.
#pragma once
#include "integers-inl.h"
#include <stdint.h>

namespace tilegrad::TILEGRAD_TARGET {

struct Range {
  int64_t begin, end;  // [begin, end), empty if end <= begin
  bool empty() const { return end <= begin; }
};


constexpr int64_t kFar = int64_t(1) << 40;

// Key j is visible to query i iff diagonalMin ≤ j − i ≤ diagonalMax: causal, its alignment and the window all fold into this band.
struct Schedule {
  int64_t seqlenQ, seqlenK, diagonalMin, diagonalMax;

  Schedule() = default;
  // A band of negative width (a window that ends where 'top-left' causality has not begun) hides everything; ±far keeps that true of every range below.
  Schedule(int64_t seqlenQ, int64_t seqlenK, int64_t min, int64_t max)
      : seqlenQ(seqlenQ), seqlenK(seqlenK), diagonalMin(min <= max ? min : kFar), diagonalMax(min <= max ? max : -kFar) {}

  Range visibleKeys(int64_t i) const { return {maxOf(0, i + diagonalMin), minOf(seqlenK, i + diagonalMax + 1)}; }
  // Keys that some row of [rowBegin, rowEnd) sees. The band is convex, so they are one range.
  Range visitedKeys(int64_t rowBegin, int64_t rowEnd) const {
    return {maxOf(0, rowBegin + diagonalMin), minOf(seqlenK, rowEnd + diagonalMax)};
  }
  // Queries that see some key of [keyBegin, keyEnd).
  Range visitedQueries(int64_t keyBegin, int64_t keyEnd) const {
    return {maxOf(0, keyBegin - diagonalMax), minOf(seqlenQ, keyEnd - diagonalMin)};
  }
  // Whether every row of [rowBegin, rowEnd) sees every key of [keyBegin, keyEnd): such a tile needs no mask.
  bool full(int64_t rowBegin, int64_t rowEnd, int64_t keyBegin, int64_t keyEnd) const {
    return keyBegin >= rowEnd - 1 + diagonalMin && keyEnd - 1 <= rowBegin + diagonalMax && keyEnd <= seqlenK;
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
