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
  float *out, *lse, *probabilities, *partial;  // partial: nSplits·B·Hq·Sq·(DvPad + 2) floats, if nSplits > 1
  const float* sink;
  int64_t sinkStride;
  AttentionSizes size;
  int64_t headDimVPad, nSplits;
  float keepScale;

  AttentionOutput(const AttentionForwardProblem& problem, float* partial)
      : out(problem.out), lse(problem.lse), probabilities(problem.probabilities), partial(partial), sink(problem.sink),
        sinkStride(problem.sinkStride), size(problem.size), headDimVPad(problem.headDimVPad), nSplits(problem.nSplits),
        keepScale(problem.options.dropout.keepScale) {}

  // Rows [row, row + count) of one sequence and of head h, from their maxima in base-2 units and their sums, one per lane, and their unnormalised o (headDimVPad
  // floats each). count ≤ kLanes.
  void write(int64_t row, int64_t count, int64_t h, int64_t split, VF rowMax, VF rowSum, const float* o) const {
    if (nSplits == 1) {
      writeRows(row, count, h, rowMax, rowSum, o);
    } else {
      for (int64_t r = 0; r < count; r++) writePartial(row + r, h, split, rowMax[r], rowSum[r], o + r * headDimVPad);
    }
  }

  // What makes exponentials probabilities, times `factor`, and lse, row by row.
  struct Normaliser {
    VF scale, rowLse;
  };
  TILEGRAD_INLINE Normaliser normaliser(int64_t h, VF rowMax, VF rowSum, float factor) const {
    const VF zero = {}, infinity = splat(__builtin_inff());
    const VI empty = (VI)(rowSum == zero);  // no visible key: out 0 and lse −∞, or the sink; a NaN goes through
    Normaliser of{select(empty, zero, splat(factor) / rowSum), select(empty, -infinity, mulAdd(rowMax, splat(kLn2), log(rowSum)))};
    if (sink) joinSink(sink[h * sinkStride], of.scale, of.rowLse);
    return of;
  }

  void writeRows(int64_t row, int64_t count, int64_t h, VF rowMax, VF rowSum, const float* o) const {
    const auto [scale, rowLse] = normaliser(h, rowMax, rowSum, keepScale);
    float* to = out + (row * size.nHeads + h) * size.headDimV;
    for (int64_t r = 0; r < count; r++, to += size.nHeads * size.headDimV, o += headDimVPad) {
      const VF factor = splat(scale[r]);
      forVectors(0, size.headDimV, [&](int64_t d, auto lanes) { lanes.store(to + d, load(o + d) * factor); });
    }
    float* lseRows = lse + (size.packed() ? h * size.totalQ + row : (row / size.seqlenQ * size.nHeads + h) * size.seqlenQ + row % size.seqlenQ);
    for (int64_t r = 0; r < count; r++) lseRows[r] = rowLse[r];
  }

  // Probabilities of rows of one sequence: the exponentials p of `keys`, `stride` floats a row, over their sums; 0 for all other keys.
  void saveRows(const Sequence& s, int64_t h, Range rows, Range keys, VF rowMax, VF rowSum, const float* p, int64_t stride) const {
    const VF scale = normaliser(h, rowMax, rowSum, 1.0f).scale;
    const int64_t seqlenK = size.seqlenK, end = minOf(keys.end, seqlenK);
    float* to = probabilities + (size.headRows(s, h) + rows.begin) * seqlenK;
    for (int64_t r = 0; r < rows.end - rows.begin; r++, to += seqlenK, p += stride) {
      const VF factor = splat(scale[r]);
      forVectors(0, keys.begin, [&](int64_t j, auto lanes) { lanes.store(to + j, VF{}); });
      forVectors(keys.begin, end, [&](int64_t j, auto lanes) { lanes.store(to + j, load(p + j - keys.begin) * factor); });
      forVectors(end, seqlenK, [&](int64_t j, auto lanes) { lanes.store(to + j, VF{}); });
    }
  }

  // One more score in the denominator, without a value: with x = lse − sink the row keeps the share 1/(1 + e^−x) of what it was.
  static void joinSink(float sink, VF& scale, VF& rowLse) {
    if (sink == -__builtin_inff()) return;
    const VF x = rowLse - splat(sink), one = splat(1.0f);  // −∞ where the row sees no key
    const VI below = (VI)(x < VF{});
    const VF less = exp(select(below, x, -x));
    scale *= select(below, less, one) / (one + less);
    rowLse = select(below, splat(sink), rowLse) + log(one + less);
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
    writeRows(row, 1, h, splat(rowMax), splat(rowSum), o);
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
