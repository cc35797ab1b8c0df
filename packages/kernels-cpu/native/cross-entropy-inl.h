// Cross-entropy of given logits, forward and backward. One exponential per logit; 4 bytes forward, 8 backward.
#pragma once
#include "parallel-inl.h"
#include "reduce-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// ln Σ exp(row), relative to the row's maximum; −∞ for a row of −∞.
inline float logSumExp(const float* row, int64_t columns) {
  const float infinity = __builtin_inff();
  const float rowMax = maxOver(columns, [&](int64_t i, auto lanes) { return lanes.keep(lanes.load(row + i), -infinity); });
  if (rowMax == -infinity) return rowMax;
  const VF shift = splat(rowMax);
  const float rowSum = sumOver(columns, [&](int64_t i, auto lanes) { return lanes.keep(exp(lanes.load(row + i) - shift), 0); });
  // rowSum is in 1 … columns, or NaN if a logit is NaN or +∞: passed on, so that training stops instead of going astray.
  return rowSum >= 1 ? rowMax + logScalar(rowSum) : rowSum;
}

// −log softmax(row)[target]: 0 where ignored, NaN where the target is no column.
inline float rowLoss(const float* row, int64_t columns, int32_t target, int64_t ignoreIndex, float lse) {
  if (target == ignoreIndex) return 0;
  return target >= 0 && target < columns ? lse - row[target] : __builtin_nanf("");
}

inline int64_t countTargets(const int32_t* targets, int64_t rows, int64_t ignoreIndex) {
  int64_t count = 0;
  for (int64_t row = 0; row < rows; row++) count += targets[row] != ignoreIndex;
  return count;
}

// Mean of the losses that count, 0 if none does. In float64 and in the order of rows.
inline float meanLoss(const float* losses, const int32_t* targets, int64_t rows, int64_t ignoreIndex) {
  double sum = 0;
  for (int64_t row = 0; row < rows; row++) sum += double(losses[row]);
  const int64_t count = countTargets(targets, rows, ignoreIndex);
  return count == 0 ? 0.0f : float(sum / double(count));
}

// d loss/d logits of one row: factor·(softmax − onehot(target)), 0 where ignored. dlogits may be logits.
inline void rowGradient(const float* logits, float* dlogits, int64_t columns, int32_t target, int64_t ignoreIndex, float lse, float factor) {
  if (target == ignoreIndex) {
    forVectors(0, columns, [&](int64_t i, auto lanes) { lanes.store(dlogits + i, VF{}); });
    return;
  }
  const VF lseV = splat(lse), factorV = splat(factor);
  const bool known = target >= 0 && target < columns;
  const float targetLogit = known ? logits[target] : 0;
  forVectors(0, columns, [&](int64_t i, auto lanes) { lanes.store(dlogits + i, exp(lanes.load(logits + i) - lseV) * factorV); });
  if (known) dlogits[target] = (exp(splat(targetLogit - lse))[0] - 1.0f) * factor;
}

// Arguments: logits, targets, loss, lse, rowLosses [rows], rows, columns, logitsStride, ignoreIndex.
inline void cross_entropy_forward(Reader& args, Context& ctx) {
  const float* logits = args.ptr();
  const int32_t* targets = args.ptr<int32_t>();
  float* loss = args.ptr();
  float* lse = args.ptr();
  float* rowLosses = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), logitsStride = args.i64();
  const int64_t ignoreIndex = args.i64();
  parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const float* logitsRow = logits + row * logitsStride;
      lse[row] = logSumExp(logitsRow, columns);
      rowLosses[row] = rowLoss(logitsRow, columns, targets[row], ignoreIndex, lse[row]);
    }
  });
  *loss = meanLoss(rowLosses, targets, rows, ignoreIndex);
}

// Arguments: dloss, logits, targets, lse, dlogits, rows, columns, logitsStride, dlogitsStride, ignoreIndex.
inline void cross_entropy_backward(Reader& args, Context& ctx) {
  const float* dloss = args.ptr();
  const float* logits = args.ptr();
  const int32_t* targets = args.ptr<int32_t>();
  const float* lse = args.ptr();
  float* dlogits = args.ptr();
  const int64_t rows = args.i64(), columns = args.i64(), logitsStride = args.i64(), dlogitsStride = args.i64();
  const int64_t ignoreIndex = args.i64();
  const float factor = *dloss / float(countTargets(targets, rows, ignoreIndex));
  parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++)
      rowGradient(logits + row * logitsStride, dlogits + row * dlogitsStride, columns, targets[row], ignoreIndex, lse[row], factor);
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
