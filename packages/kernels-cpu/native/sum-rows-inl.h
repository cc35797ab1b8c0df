// x [rows, columns] → [columns]: one addition per 4 bytes read, memory speed.
#pragma once
#include "column-sums-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Arguments: x, out, partial [parts, columns], rows, columns, xStride, parts, accumulate.
inline void sum_rows(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  float* out = args.ptr();
  float* partial = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), xStride = args.i64(), parts = args.i64();
  const bool accumulate = args.flag();
  parallelChunks(ctx, parts, ceilDiv(rows, parts) * columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t part = begin; part < end; part++) {
      const int64_t r0 = partStart(rows, parts, part), r1 = partStart(rows, parts, part + 1);
      // Four vectors of columns at a time stay in registers.
      int64_t j = 0;
      for (; j + 4 * kLanes <= columns; j += 4 * kLanes) {
        VF sum[4] = {};
        for (int64_t r = r0; r < r1; r++)
#pragma GCC unroll 4
          for (int v = 0; v < 4; v++) sum[v] += load(x + r * xStride + j + v * kLanes);
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) store(partial + part * columns + j + v * kLanes, sum[v]);
      }
      forVectors(j, columns, [&](int64_t i, auto lanes) {
        VF sum = {};
        for (int64_t r = r0; r < r1; r++) sum += lanes.load(x + r * xStride + i);
        lanes.store(partial + part * columns + i, sum);
      });
    }
  });
  mergeParts(ctx, partial, parts, columns, columns, out, accumulate);
}

}  // namespace tilegrad::TILEGRAD_TARGET
