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

struct AttentionOutput {
  float *out, *lse, *partial;  // partial: nSplits·B·Hq·Sq·(DvPad + 2) floats, if nSplits > 1
  AttentionSizes size;
  int64_t headDimVPad, nSplits;

  AttentionOutput(const AttentionForwardProblem& problem, float* partial)
      : out(problem.out), lse(problem.lse), partial(partial), size(problem.size), headDimVPad(problem.headDimVPad), nSplits(problem.nSplits) {}

  // Row i of head h from its unnormalised o (headDimVPad floats), its maximum in base-2 units and its sum.
  void write(int64_t b, int64_t h, int64_t i, int64_t split, float rowMax, float rowSum, const float* o) const {
    if (nSplits > 1) {
      writePartial(b, h, i, split, rowMax, rowSum, o);
    } else {
      writeRow(b, h, i, rowMax, rowSum, o);
    }
  }

  void writeRow(int64_t b, int64_t h, int64_t i, float rowMax, float rowSum, const float* o) const {
    float* to = out + ((b * size.seqlenQ + i) * size.nHeads + h) * size.headDimV;
    const bool empty = rowSum == 0;  // no visible key: out 0 and lse −∞; a NaN goes through
    const VF inverse = splat(empty ? 0.0f : 1.0f / rowSum);
    int64_t d = 0;
    for (; d + kLanes <= size.headDimV; d += kLanes) store(to + d, load(o + d) * inverse);
    if (d < size.headDimV) storePartial(to + d, load(o + d) * inverse, size.headDimV - d);
    lse[(b * size.nHeads + h) * size.seqlenQ + i] = empty ? -__builtin_inff() : rowMax * kLn2 + logScalar(rowSum);
  }

  float* partialRow(int64_t b, int64_t h, int64_t i, int64_t split) const {
    return partial + (((b * size.nHeads + h) * size.seqlenQ + i) * nSplits + split) * (headDimVPad + 2);
  }

  void writePartial(int64_t b, int64_t h, int64_t i, int64_t split, float rowMax, float rowSum, const float* o) const {
    float* to = partialRow(b, h, i, split);
    to[0] = rowMax;
    to[1] = rowSum;
    memcpy(to + 2, o, size_t(headDimVPad) * 4);
  }

  // Merges the (m, l, O) of all splits of one row, in their order: FlashDecoding's rule, core-math/src/softmax.ts `merge`.
  void mergeRow(int64_t row, float* o) const {
    const int64_t b = row / (size.nHeads * size.seqlenQ), h = row / size.seqlenQ % size.nHeads, i = row % size.seqlenQ;
    float rowMax = -__builtin_inff(), rowSum = 0;
    for (int64_t s = 0; s < nSplits; s++) rowMax = partialRow(b, h, i, s)[0] > rowMax ? partialRow(b, h, i, s)[0] : rowMax;
    memset(o, 0, size_t(headDimVPad) * 4);
    const float shift = rowMax == -__builtin_inff() ? 0.0f : rowMax;
    for (int64_t s = 0; s < nSplits; s++) {
      const float* from = partialRow(b, h, i, s);
      const float factor = exp2(splat(from[0] - shift))[0];
      rowSum += from[1] * factor;
      for (int64_t d = 0; d < headDimVPad; d += kLanes) store(o + d, mulAdd(load(from + 2 + d), splat(factor), load(o + d)));
    }
    writeRow(b, h, i, rowMax, rowSum, o);
  }

  void mergeSplits(Context& ctx) const {
    if (nSplits == 1) return;
    constexpr int64_t kRows = 16;
    const int64_t rows = size.batchSize * size.nHeads * size.seqlenQ;
    parallelFor(ctx.pool, ceilDiv(rows, kRows), [&](int64_t task, int worker) {
      for (int64_t row = task * kRows; row < minOf(rows, (task + 1) * kRows); row++) mergeRow(row, reinterpret_cast<float*>(ctx.scratch(worker)));
    });
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
