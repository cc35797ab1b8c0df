// Layer norm over the last axis (arXiv 1607.06450), forward and backward.
//
// Mean and variance take a pass each over a row that stays in L1, because the one-pass Σx² − (Σx)² cancels where the mean is large. 8 bytes per element
// forward, 12 backward, about 8 and 14 flops: memory speed.
#pragma once
#include "column-sums-inl.h"
#include "reduce-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Arguments: x, weight, bias, out, mean, rstd, rows, columns, xStride, eps.
inline void layer_norm_forward(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  const float* weight = args.ptr();
  const float* bias = args.ptr();
  float* out = args.ptr();
  float* meanOut = args.ptr();
  float* rstdOut = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), xStride = args.i64();
  const float eps = args.f32();
  const float perColumn = 1.0f / float(columns);
  parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* xRow = x + row * xStride;
      float* outRow = out + row * columns;
      // 1. mean and variance
      const float mean = sumOver(columns, [&](int64_t i, auto lanes) { return lanes.load(xRow + i); }) * perColumn;
      const VF meanV = splat(mean);
      const float variance = sumOver(columns, [&](int64_t i, auto lanes) {
                               const VF centred = lanes.keep(lanes.load(xRow + i) - meanV, 0);
                               return centred * centred;
                             }) * perColumn;
      const float rstd = 1.0f / __builtin_sqrtf(variance + eps);
      meanOut[row] = mean;
      rstdOut[row] = rstd;
      // 2. normalise, scale and shift
      const VF rstdV = splat(rstd);
      forVectors(0, columns, [&](int64_t i, auto lanes) {
        const VF normalised = (lanes.load(xRow + i) - meanV) * rstdV;
        lanes.store(outRow + i, mulAdd(normalised, lanes.load(weight + i), lanes.load(bias + i)));
      });
    }
  });
}

// dx = rstd·(g − mean(g) − n·mean(g·n)) with g = dout·weight and n = (x − mean)·rstd; dweight = Σ dout·n and dbias = Σ dout over rows.
// Arguments: dout, x, weight, mean, rstd, dx, dweight, dbias, partial [parts, 2·columns], rows, columns, doutStride, xStride, parts,
// accumulateWeight, accumulateBias.
inline void layer_norm_backward(Reader& args, Context& ctx) {
  const float* dout = args.ptr();
  const float* x = args.ptr();
  const float* weight = args.ptr();
  const float* meanIn = args.ptr();
  const float* rstdIn = args.ptr();
  float* dx = args.ptr();
  float* dweight = args.ptr();
  float* dbias = args.ptr();
  float* partial = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), doutStride = args.i64(), xStride = args.i64(), parts = args.i64();
  const bool accumulateWeight = args.flag(), accumulateBias = args.flag();
  const float perColumn = 1.0f / float(columns);
  parallelChunks(ctx, parts, ceilDiv(rows, parts) * columns * 2, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t part = begin; part < end; part++) {
      float* dweightPart = partial + part * 2 * columns;
      float* dbiasPart = dweightPart + columns;
      forVectors(0, 2 * columns, [&](int64_t i, auto lanes) { lanes.store(dweightPart + i, VF{}); });
      for (int64_t row = partStart(rows, parts, part); row < partStart(rows, parts, part + 1); row++) {
        const float* doutRow = dout + row * doutStride;
        const float* xRow = x + row * xStride;
        float* dxRow = dx + row * columns;
        const VF mean = splat(meanIn[row]), rstd = splat(rstdIn[row]);
        // 1. the two means, and the row's share of the parameter gradients
        VF sumG[2] = {}, sumGN[2] = {};
        auto reduce = [&](int64_t i, auto lanes, int chain) {
          const VF d = lanes.load(doutRow + i);
          const VF n = (lanes.load(xRow + i) - mean) * rstd;
          const VF g = d * lanes.load(weight + i);  // 0 past the end
          sumG[chain] += g;
          sumGN[chain] = mulAdd(g, n, sumGN[chain]);
          lanes.store(dweightPart + i, mulAdd(d, n, lanes.load(dweightPart + i)));
          lanes.store(dbiasPart + i, lanes.load(dbiasPart + i) + d);
        };
        int64_t i = 0;
        for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
          reduce(i, WholeVector{}, 0);
          reduce(i + kLanes, WholeVector{}, 1);
        }
        forVectors(i, columns, [&](int64_t j, auto lanes) { reduce(j, lanes, 0); });
        const VF meanG = splat(sumLanes(sumG[0] + sumG[1]) * perColumn);
        const VF meanGN = splat(sumLanes(sumGN[0] + sumGN[1]) * perColumn);
        // 2. dx
        forVectors(0, columns, [&](int64_t j, auto lanes) {
          const VF n = (lanes.load(xRow + j) - mean) * rstd;
          // Rounded as it was in the mean: with one column, or equal ones, g − mean(g) is 0.
          const VF g = rounded(lanes.load(doutRow + j) * lanes.load(weight + j));
          lanes.store(dxRow + j, (g - meanG - n * meanGN) * rstd);
        });
      }
    }
  });
  // 3. merge the parts
  mergeParts(ctx, partial, parts, 2 * columns, columns, dweight, accumulateWeight);
  mergeParts(ctx, partial + columns, parts, 2 * columns, columns, dbias, accumulateBias);
}

}  // namespace tilegrad::TILEGRAD_TARGET
