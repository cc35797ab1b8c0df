// Softmax over the last axis of the whole matrix, as standard attention needs it, forward and backward. About 20 flops per 8 bytes.
#pragma once
#include "parallel-inl.h"
#include "reduce-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Row r is query r mod seqlenQ of its matrix; `causal` keeps its first i + seqlenK − seqlenQ + 1 columns.
// Arguments: x, out, rows, seqlenQ, seqlenK, xStride, outStride, scale, causal.
inline void softmax_forward(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  float* out = args.ptr();
  const int64_t rows = args.i64(), seqlenQ = args.i64(), seqlenK = args.i64(), xStride = args.i64(), outStride = args.i64();
  const VF scale = splat(args.f32());
  const bool causal = args.flag();
  const float infinity = __builtin_inff();
  parallelChunks(ctx, rows, seqlenK * 2, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* xRow = x + row * xStride;
      float* outRow = out + row * outStride;
      const int64_t visible = row % seqlenQ + seqlenK - seqlenQ + 1;
      const int64_t keep = causal ? maxOf(0, minOf(visible, seqlenK)) : seqlenK;
      // 1. row maximum, after the scale, which may be negative
      const float rowMax = maxOver(keep, [&](int64_t i, auto lanes) { return lanes.keep(lanes.load(xRow + i) * scale, -infinity); });
      // A row that keeps nothing, or −∞ alone, is 0.
      if (rowMax == -infinity) {
        forVectors(0, seqlenK, [&](int64_t i, auto lanes) { lanes.store(outRow + i, VF{}); });
        continue;
      }
      // 2. exponentials and their sum
      const VF shift = splat(rowMax);
      const float rowSum = sumOver(keep, [&](int64_t i, auto lanes) {
        const VF p = lanes.keep(exp(lanes.load(xRow + i) * scale - shift), 0);
        lanes.store(outRow + i, p);
        return p;
      });
      // 3. normalise
      const VF factor = splat(1.0f / rowSum);
      forVectors(0, keep, [&](int64_t i, auto lanes) { lanes.store(outRow + i, lanes.load(outRow + i) * factor); });
      forVectors(keep, seqlenK, [&](int64_t i, auto lanes) { lanes.store(outRow + i, VF{}); });
    }
  });
}

// dx = scale·out·(dout − Σ dout·out). Arguments: dout, out, dx, rows, columns, doutStride, outStride, dxStride, scale.
inline void softmax_backward(Reader& args, Context& ctx) {
  const float* dout = args.ptr();
  const float* out = args.ptr();
  float* dx = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), doutStride = args.i64(), outStride = args.i64(), dxStride = args.i64();
  const VF scale = splat(args.f32());
  parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* doutRow = dout + row * doutStride;
      const float* outRow = out + row * outStride;
      float* dxRow = dx + row * dxStride;
      const VF delta = splat(sumOver(columns, [&](int64_t i, auto lanes) { return lanes.load(doutRow + i) * lanes.load(outRow + i); }));
      forVectors(0, columns, [&](int64_t i, auto lanes) { lanes.store(dxRow + i, scale * lanes.load(outRow + i) * (lanes.load(doutRow + i) - delta)); });
    }
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
