// The register tile of GEMM: rows × vectors of c from one panel of a and one of b.
#pragma once
#include "micro-kernel-inl.h"
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {

// Where a tile goes. It is passed by address: alpha in a register would be the one too many beside the accumulators.
struct GemmTarget {
  int64_t ldc;
  float alpha;
  bool accumulate;
};

// c = alpha·a·b, or added to c. a is packed (k × rows), b has rows of ldb floats, `columns` are the valid ones of the tile. Each element is a chain of
// multiply-adds in ascending k whatever tile it falls in, so the partition among threads cannot change it.
using GemmTile = void (*)(int64_t k, const float* a, const float* b, int64_t ldb, float* c, int64_t columns, const GemmTarget& target);

template <int ROWS, int VECTORS>
void gemmTile(int64_t k, const float* a, const float* b, int64_t ldb, float* c, int64_t columns, const GemmTarget& target) {
  const int64_t ldc = target.ldc;
  // c is used k steps from now: ask for it at once.
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; r++) {
    __builtin_prefetch(c + r * ldc);
    __builtin_prefetch(c + r * ldc + columns - 1);
  }
  VF acc[ROWS][VECTORS];
  clear(acc);
  multiplyAdd<ROWS, VECTORS, 1, ROWS, 1>(k, a, b, ldb, acc);

  const VF factor = splat(target.alpha);
  const bool accumulate = target.accumulate;
  auto put = [&](float* p, VF value, auto lanes) { lanes.store(p, accumulate ? mulAdd(value, factor, lanes.load(p)) : value * factor); };
  const int64_t tail = columns - (VECTORS - 1) * kLanes;
  if (tail == kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 8
      for (int v = 0; v < VECTORS; v++) put(c + r * ldc + v * kLanes, acc[r][v], WholeVector{});
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 8
      for (int v = 0; v + 1 < VECTORS; v++) put(c + r * ldc + v * kLanes, acc[r][v], WholeVector{});
      put(c + r * ldc + (VECTORS - 1) * kLanes, acc[r][VECTORS - 1], PartialVector{tail});
    }
  }
}

// The tile for what is left at the edges of c.
template <int ROWS = kGemmRows, int VECTORS = kGemmVectors>
GemmTile pickGemmTile(int64_t rows, int64_t vectors) {
  if constexpr (VECTORS > 1)
    if (vectors < VECTORS) return pickGemmTile<ROWS, VECTORS - 1>(rows, vectors);
  if constexpr (ROWS > 1)
    if (rows < ROWS) return pickGemmTile<ROWS - 1, VECTORS>(rows, vectors);
  return gemmTile<ROWS, VECTORS>;
}

}  // namespace tilegrad::TILEGRAD_TARGET
