// RMS norm over the last axis (arXiv 1910.07467), forward and backward. Memory speed, like layer norm.
#pragma once
#include "column-sums-inl.h"
#include "reduce-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Arguments: x, weight, out, rstd, rows, columns, xStride, eps.
inline void rms_norm_forward(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  const float* weight = args.ptr();
  float* out = args.ptr();
  float* rstdOut = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), xStride = args.i64();
  const float eps = args.f32();
  parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* xRow = x + row * xStride;
      float* outRow = out + row * columns;
      // 1. mean square
      const float sum = sumOver(columns, [&](int64_t i, auto lanes) {
        const VF v = lanes.load(xRow + i);
        return v * v;
      });
      const float rstd = 1.0f / __builtin_sqrtf(sum / float(columns) + eps);
      rstdOut[row] = rstd;
      // 2. normalise and scale
      const VF rstdV = splat(rstd);
      forVectors(0, columns, [&](int64_t i, auto lanes) { lanes.store(outRow + i, lanes.load(xRow + i) * rstdV * lanes.load(weight + i)); });
    }
  });
}

// dx = rstd·(g − n·mean(g·n)) with g = dout·weight and n = x·rstd; dweight = Σ dout·n over rows.
// Arguments: dout, x, weight, rstd, dx, dweight, partial [parts, columns], rows, columns, doutStride, xStride, parts, accumulateWeight.
inline void rms_norm_backward(Reader& args, Context& ctx) {
  const float* dout = args.ptr();
  const float* x = args.ptr();
  const float* weight = args.ptr();
  const float* rstdIn = args.ptr();
  float* dx = args.ptr();
  float* dweight = args.ptr();
  float* partial = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), doutStride = args.i64(), xStride = args.i64(), parts = args.i64();
  const bool accumulateWeight = args.flag();
  parallelChunks(ctx, parts, ceilDiv(rows, parts) * columns * 2, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t part = begin; part < end; part++) {
      float* dweightPart = partial + part * columns;
      forVectors(0, columns, [&](int64_t i, auto lanes) { lanes.store(dweightPart + i, VF{}); });
      for (int64_t row = partStart(rows, parts, part); row < partStart(rows, parts, part + 1); row++) {
        const float* doutRow = dout + row * doutStride;
        const float* xRow = x + row * xStride;
        float* dxRow = dx + row * columns;
        const VF rstd = splat(rstdIn[row]);
        // 1. mean(g·n), and the row's share of dweight
        const float sum = sumOver(columns, [&](int64_t i, auto lanes) {
          const VF dn = lanes.load(doutRow + i) * (lanes.load(xRow + i) * rstd);
          lanes.store(dweightPart + i, lanes.load(dweightPart + i) + dn);
          return dn * lanes.load(weight + i);
        });
        const VF mean = splat(sum / float(columns));
        // 2. dx
        forVectors(0, columns, [&](int64_t i, auto lanes) {
          const VF g = lanes.load(doutRow + i) * lanes.load(weight + i);
          lanes.store(dxRow + i, (g - lanes.load(xRow + i) * rstd * mean) * rstd);
        });
      }
    }
  });
  // 3. merge the parts
  mergeParts(ctx, partial, parts, columns, columns, dweight, accumulateWeight);
}

}  // namespace tilegrad::TILEGRAD_TARGET
