// add and scale: memory speed.
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Arguments: a, b, out, rows, columns, aStride, bStride, outStride.
inline void add(Reader& args, Context& ctx) {
  const float* a = args.ptr();
  const float* b = args.ptr();
  float* out = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), aStride = args.i64(), bStride = args.i64(), outStride = args.i64();
  const bool flat = aStride == columns && bStride == columns && outStride == columns;
  parallelElements(ctx, rows, columns, flat, [&](int64_t row, int64_t begin, int64_t end) {
    const float* aRow = a + row * aStride;
    const float* bRow = b + row * bStride;
    float* outRow = out + row * outStride;
    forVectors(begin, end, [&](int64_t i, auto lanes) { lanes.store(outRow + i, lanes.load(aRow + i) + lanes.load(bRow + i)); });
  });
}

// Arguments: x, out, rows, columns, xStride, outStride, factor.
inline void scale(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  float* out = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), xStride = args.i64(), outStride = args.i64();
  const VF factor = splat(args.f32());
  parallelElements(ctx, rows, columns, xStride == columns && outStride == columns, [&](int64_t row, int64_t begin, int64_t end) {
    const float* xRow = x + row * xStride;
    float* outRow = out + row * outStride;
    forVectors(begin, end, [&](int64_t i, auto lanes) { lanes.store(outRow + i, lanes.load(xRow + i) * factor); });
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
