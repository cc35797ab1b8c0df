// Σ x²: memory speed. Blocks of a fixed length are summed over 4 × kLanes float32 chains (16 to 64 additions each), and the blocks in float64 in
// ascending order: the error stays near one rounding however long x is, and no thread count can change a bit.
#pragma once
#include "parallel-inl.h"
#include "reduce-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kSumSquaresBlock = 1024;  // also in src/kernels/sum-squares.ts, which makes `partial`

// Arguments: x, out, partial [rows · ceil(columns / 1024)], rows, columns, xStride, accumulate.
inline void sum_squares(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  float* out = args.ptr();
  float* partial = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), xStride = args.i64();
  const bool accumulate = args.flag();
  const int64_t blocks = ceilDiv(columns, kSumSquaresBlock);
  parallelChunks(ctx, rows * blocks, minOf(columns, kSumSquaresBlock), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; item++) {
      const int64_t column = item % blocks * kSumSquaresBlock;
      const float* from = x + item / blocks * xStride + column;
      partial[item] = sumOver(minOf(kSumSquaresBlock, columns - column), [&](int64_t i, auto lanes) {
        const VF v = lanes.load(from + i);
        return v * v;
      });
    }
  });
  double sum = accumulate ? double(*out) : 0;
  for (int64_t item = 0; item < rows * blocks; item++) sum += double(partial[item]);
  *out = float(sum);
}

}  // namespace tilegrad::TILEGRAD_TARGET
