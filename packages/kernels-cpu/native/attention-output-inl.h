// What both forward kernels do with a finished row: divide by its sum and write it, or, where the keys are split, keep its state and merge later.
#pragma once
#include "attention-problem-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Part `split` of `nSplits` of the visited keys, cut at multiples of blockN: by shape alone, whatever the thread count.
inline Range splitKeys(Range visited, int64_t blockN, int64_t split, int64_t nSplits) {
  if (visited.empty()) return {0, 0};
  const int64_t first = visited.begin / blockN, blocks = ceilDiv(visited.end, blockN) - first;
  return {(first + blocks * split / nSplits) * blockN, (first + blocks * (split + 1) / nSplits) * blockN};
}

// Rows are counted over the whole batch.
struct AttentionOutput {
  float *out, *lse, *partial;  // partial: nSplits·B·Hq·Sq·(DvPad + 2) floats, if nSplits > 1
  const float* sink;
  int64_t sinkStride;
  AttentionSizes size;
  int64_t headDimVPad, nSplits;
  float keepScale;

  AttentionOutput(const AttentionForwardProblem& problem, float* partial)
      : out(problem.out), lse(problem.lse), partial(partial), sink(problem.sink), sinkStride(problem.sinkStride), size(problem.size),
        headDimVPad(problem.headDimVPad), nSplits(problem.nSplits), keepScale(problem.options.dropout.keepScale) {}

  // A row of head h from its unnormalised o (headDimVPad floats), its maximum in base-2 units and its sum.
  void write(int64_t row, int64_t h, int64_t split, float rowMax, float rowSum, const float* o) const {
    if (nSplits > 1) {
      writePartial(row, h, split, rowMax, rowSum, o);
    } else {
      writeRow(row, h, rowMax, rowSum, o);
    }
  }

  void writeRow(int64_t row, int64_t h, float rowMax, float rowSum, const float* o) const {
    float* to = out + (row * size.nHeads + h) * size.headDimV;
    const bool empty = rowSum == 0;  // no visible key: out 0 and lse −∞, or the sink; a NaN goes through
    float scale = empty ? 0.0f : keepScale / rowSum, rowLse = empty ? -__builtin_inff() : rowMax * kLn2 + logScalar(rowSum);
    if (sink) joinSink(sink[h * sinkStride], scale, rowLse);
    const VF inverse = splat(scale);
    int64_t d = 0;
    for (; d + kLanes <= size.headDimV; d += kLanes) store(to + d, load(o + d) * inverse);
    if (d < size.headDimV) storePartial(to + d, load(o + d) * inverse, size.headDimV - d);
    lse[size.packed() ? h * size.totalQ + row : (row / size.seqlenQ * size.nHeads + h) * size.seqlenQ + row % size.seqlenQ] = rowLse;
  }

  // One more score in the denominator, without a value: with x = lse − sink the row keeps the share 1/(1 + e^−x) of what it was.
  static void joinSink(float sink, float& scale, float& rowLse) {
    if (sink == -__builtin_inff()) return;
    const float x = rowLse - sink;  // −∞ where the row sees no key
    const float less = exp(splat(x < 0 ? x : -x))[0];
    scale *= (x < 0 ? less : 1.0f) / (1.0f + less);
    rowLse = (x < 0 ? sink : rowLse) + logScalar(1.0f + less);
  }

  float* partialRow(int64_t row, int64_t h, int64_t split) const {
    return partial + ((row * size.nHeads + h) * nSplits + split) * (headDimVPad + 2);
  }

  void writePartial(int64_t row, int64_t h, int64_t split, float rowMax, float rowSum, const float* o) const {
    float* to = partialRow(row, h, split);
    to[0] = rowMax;
    to[1] = rowSum;
    memcpy(to + 2, o, size_t(headDimVPad) * 4);
  }

  // Merges the (m, l, O) of all splits of one row, in their order: FlashDecoding's rule, core-math/src/softmax.ts `merge`.
  void mergeRow(int64_t row, int64_t h, float* o) const {
    float rowMax = -__builtin_inff(), rowSum = 0;
    for (int64_t s = 0; s < nSplits; s++) rowMax = partialRow(row, h, s)[0] > rowMax ? partialRow(row, h, s)[0] : rowMax;
    memset(o, 0, size_t(headDimVPad) * 4);
    const float shift = rowMax == -__builtin_inff() ? 0.0f : rowMax;
    for (int64_t s = 0; s < nSplits; s++) {
      const float* from = partialRow(row, h, s);
      const float factor = exp2(splat(from[0] - shift))[0];
      rowSum += from[1] * factor;
      for (int64_t d = 0; d < headDimVPad; d += kLanes) store(o + d, mulAdd(load(from + 2 + d), splat(factor), load(o + d)));
    }
    writeRow(row, h, rowMax, rowSum, o);
  }

  void mergeSplits(Context& ctx) const {
    if (nSplits == 1) return;
    constexpr int64_t kRows = 16;
    const int64_t rows = size.totalQ * size.nHeads;
    parallelFor(ctx.pool, ceilDiv(rows, kRows), [&](int64_t task, int worker) {
      for (int64_t row = task * kRows; row < minOf(rows, (task + 1) * kRows); row++) {
        mergeRow(row / size.nHeads, row % size.nHeads, reinterpret_cast<float*>(ctx.scratch(worker)));
      }
    });
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
