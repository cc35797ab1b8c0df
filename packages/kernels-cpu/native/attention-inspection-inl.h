// What attention looks at, tile by tile from the lse of a forward pass, without an Sq × Sk array: probabilities of chosen rows, their sums over columns, the topK
// keys of every query. Before dropout. Mirrors core-math/src/attention-inspection.ts.
//
// Scores are in natural units, and scaled when they are whole: sums that are exact stay so, and keys of equal scores are told apart by their index alone.
// A task owns kInspectM rows of one head, or kInspectN keys of it, and what it writes, so that every sum has one order. FLOPs: 2·D per score that is visited.
// Arguments of all three: those of AttentionProblem; q, k, then the strides (batch, seq, head) of each; lse.
#pragma once
#include "attention-problem-inl.h"
#include "parallel-inl.h"
#include "top-k-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kInspectM = 64;
constexpr int64_t kInspectN = 128;

struct AttentionInspection : AttentionProblem {
  const float *q, *k;
  HeadStrides qStrides, kStrides;
  const float* lse;

  explicit AttentionInspection(Reader& args) : AttentionProblem(args), q(args.ptr()), k(args.ptr()), qStrides(args), kStrides(args), lse(args.ptr()) {}

  struct Tiles {
    float *qRows, *qPanel, *kPanels, *scores, *row;

    Tiles(char* scratch, const AttentionInspection& a) {
      qRows = reinterpret_cast<float*>(scratch);
      qPanel = qRows + kMR * a.headDimPad;
      kPanels = qPanel + kMR * a.headDimPad + kLanes;
      scores = kPanels + kInspectN * a.headDimPad + kLanes;
      row = scores + kMR * kInspectN;  // what the task needs besides
    }
  };

  int64_t keyHead(int64_t h) const { return h / size.groupSize(); }
  float lseOf(const Sequence& s, int64_t h, int64_t i) const { return lse[size.headRows(s, h) + i]; }

  // 1. load rows[0 … count) of head h as one panel
  void loadRows(const Sequence& s, int64_t h, const int64_t* rows, int64_t count, const Tiles& t) const {
    for (int64_t r = 0; r < count; r++) {
      packRows(q + qStrides.at(s.b, rows[r], h), 0, 1, 1, size.headDim, headDimPad, 1.0f, t.qRows + r * headDimPad);
    }
    packPanels<kMR>(t.qRows, headDimPad, count, kMR, size.headDim, t.qPanel);
  }

  // 2. load the K tile, as panels
  void loadKeys(const Sequence& s, int64_t hk, Range keys, const Tiles& t) const {
    const int64_t count = keys.end - keys.begin;
    packPanels<kNR>(k + kStrides.at(s.b, keys.begin, hk), kStrides.seq, count, padTo(count, kNR), size.headDim, t.kPanels);
  }

  // 3. S = q·kᵀ, scaled, capped, with ALiBi and bias, and 4. mask: scores[r] of query rows[r] for the keys of the tile, in whole panels
  void maskedScores(const Sequence& s, int64_t h, const int64_t* rows, int64_t count, Range keys, const Tiles& t) const {
    const int64_t keysPad = padTo(keys.end - keys.begin, kNR);
    for (int64_t j = 0; j < keysPad; j += kNR) {
      VF acc[kMR][kNV];
      clear(acc);
      multiplyAdd<kMR, kNV, 1, kMR>(size.headDim, t.qPanel, t.kPanels + j * size.headDim, kNR, acc);
      storeTile(acc, t.scores + j, kInspectN);
    }
    for (int64_t r = 0; r < count; r++) {
      float* row = t.scores + r * kInspectN;
      for (int64_t j = 0; j < keysPad; j += kLanes) store(row + j, softcapped(load(row + j) * splat(options.softmaxScale)));
      if (options.hasAddend()) options.addRow(s, h, rows[r], keys.begin, keysPad, row, 1.0f);
      options.maskRow(s, h, rows[r], keys.begin, keys.begin + keysPad, row, -__builtin_inff());
    }
  }

  VF softcapped(VF s) const { return options.softcap > 0 ? tanh(s * splat(1.0f / options.softcap)) * splat(options.softcap) : s; }

  // 5. P = exp(S − lse); a row that sees no key subtracts 0 instead of −∞
  static VF probability(VF score, float rowLse) { return exp(score - splat(rowLse == -__builtin_inff() ? 0.0f : rowLse)); }

  // The next keys, up to kInspectN, of a tile that rows [rowBegin, rowEnd) visit; they lie in one tile row of the block mask.
  Range nextKeys(const Sequence& s, int64_t h, int64_t rowBegin, int64_t rowEnd, int64_t from) const {
    const int64_t key = options.nextKey(s, h, rowBegin, rowEnd, from), begin = key / kInspectN * kInspectN;
    return {begin, key == kFar ? begin : minOf(s.schedule.seqlenK, begin + kInspectN)};
  }
};

// rows (int32) and their number; out [B, Hq, rows, Sk], all zero.
inline void attention_rows(Reader& args, Context& ctx) {
  const AttentionInspection a(args);
  const int32_t* rows = args.ptr<int32_t>();
  const int64_t nRows = args.i64();
  float* out = args.ptr();
  const int64_t strips = ceilDiv(nRows, kMR);
  parallelFor(ctx.pool, a.size.batchSize * a.size.nHeads * strips, [&](int64_t task, int worker) {
    const int64_t head = task / strips, b = head / a.size.nHeads, h = head % a.size.nHeads, first = task % strips * kMR;
    const Sequence s = a.size.sequence(b);
    const AttentionInspection::Tiles t(ctx.scratch(worker), a);
    int64_t chosen[kMR], from = kFar;
    const int64_t count = minOf(kMR, nRows - first);
    for (int64_t r = 0; r < count; r++) {
      chosen[r] = rows[first + r];
      from = minOf(from, a.options.nextKey(s, h, chosen[r], chosen[r] + 1, 0));
    }
    a.loadRows(s, h, chosen, count, t);
    // Rows are anywhere: a tile of keys is visited if one of them visits it.
    while (from < s.schedule.seqlenK) {
      const int64_t begin = from / kInspectN * kInspectN;
      const Range keys = {begin, minOf(s.schedule.seqlenK, begin + kInspectN)};
      a.loadKeys(s, a.keyHead(h), keys, t);
      a.maskedScores(s, h, chosen, count, keys, t);
      from = kFar;
      for (int64_t r = 0; r < count; r++) {
        float* to = out + (head * nRows + first + r) * s.schedule.seqlenK + keys.begin;
        const float rowLse = a.lseOf(s, h, chosen[r]);
        forVectors(0, keys.end - keys.begin, [&](int64_t j, auto lanes) {
          lanes.store(to + j, AttentionInspection::probability(load(t.scores + r * kInspectN + j), rowLse));
        });
        from = minOf(from, a.options.nextKey(s, h, chosen[r], chosen[r] + 1, begin + kInspectN));
      }
    }
  });
}

// out [B, Hq, Sk].
inline void attention_column_sums(Reader& args, Context& ctx) {
  const AttentionInspection a(args);
  float* out = args.ptr();
  const int64_t nNBlocks = ceilDiv(a.size.seqlenK, kInspectN);
  parallelFor(ctx.pool, a.size.batchSize * a.size.nHeads * nNBlocks, [&](int64_t task, int worker) {
    const int64_t head = task / nNBlocks, b = head / a.size.nHeads, h = head % a.size.nHeads, nBlock = task % nNBlocks;
    const Sequence s = a.size.sequence(b);
    const Range keys = {nBlock * kInspectN, minOf(a.size.seqlenK, (nBlock + 1) * kInspectN)};
    const AttentionInspection::Tiles t(ctx.scratch(worker), a);
    float* sums = t.row;
    for (int64_t j = 0; j < kInspectN; j++) sums[j] = 0;
    a.loadKeys(s, a.keyHead(h), keys, t);
    const Range visited = s.schedule.visitedQueries(keys.begin, keys.end);
    for (int64_t row = visited.begin / kMR * kMR; row < visited.end && !visited.empty(); row += kMR) {
      if (a.options.blockMask.given) {
        row = a.options.blockMask.nextQuery(b, h, keys.begin, keys.end, row) / kMR * kMR;
        if (row >= visited.end) break;
      }
      int64_t rows[kMR];
      const int64_t count = minOf(kMR, a.size.seqlenQ - row);
      for (int64_t r = 0; r < count; r++) rows[r] = row + r;
      a.loadRows(s, h, rows, count, t);
      a.maskedScores(s, h, rows, count, keys, t);
      for (int64_t r = 0; r < count; r++) {
        const float rowLse = a.lseOf(s, h, rows[r]);
        for (int64_t j = 0; j < keys.end - keys.begin; j += kLanes) {
          store(sums + j, load(sums + j) + AttentionInspection::probability(load(t.scores + r * kInspectN + j), rowLse));
        }
      }
    }
    memcpy(out + head * a.size.seqlenK + keys.begin, sums, size_t(keys.end - keys.begin) * 4);
  });
}

// topK; probabilities and indices (int32), [B, Hq, Sq, topK].
inline void attention_top_k(Reader& args, Context& ctx) {
  const AttentionInspection a(args);
  const int64_t topK = args.i64();
  float* probabilities = args.ptr();
  int32_t* indices = args.ptr<int32_t>();
  const int64_t nMBlocks = ceilDiv(a.size.seqlenQ, kInspectM);
  parallelFor(ctx.pool, a.size.batchSize * a.size.nHeads * nMBlocks, [&](int64_t task, int worker) {
    const int64_t head = task / nMBlocks, b = head / a.size.nHeads, h = head % a.size.nHeads, mBlock = task % nMBlocks;
    const Sequence s = a.size.sequence(b);
    const int64_t rowBegin = mBlock * kInspectM, rowEnd = minOf(a.size.seqlenQ, rowBegin + kInspectM);
    const AttentionInspection::Tiles t(ctx.scratch(worker), a);
    const auto best = [&](int64_t i) {
      const int64_t at = (head * a.size.seqlenQ + i) * topK;
      return TopK{topK, probabilities + at, indices + at};
    };
    for (int64_t i = rowBegin; i < rowEnd; i++) best(i).clear();
    Range keys = a.nextKeys(s, h, rowBegin, rowEnd, 0);
    for (; !keys.empty(); keys = a.nextKeys(s, h, rowBegin, rowEnd, keys.begin + kInspectN)) {
      a.loadKeys(s, a.keyHead(h), keys, t);
      for (int64_t row = rowBegin; row < rowEnd; row += kMR) {
        int64_t rows[kMR];
        const int64_t count = minOf(kMR, rowEnd - row);
        for (int64_t r = 0; r < count; r++) rows[r] = row + r;
        a.loadRows(s, h, rows, count, t);
        a.maskedScores(s, h, rows, count, keys, t);
        for (int64_t r = 0; r < count; r++) best(rows[r]).insertRow(t.scores + r * kInspectN, keys.end - keys.begin, int32_t(keys.begin));
      }
    }
    // 6. P = exp(S − lse) of the best; 0 and −1 where the row sees fewer keys
    for (int64_t i = rowBegin; i < rowEnd; i++) {
      const float rowLse = a.lseOf(s, h, i);
      float* of = best(i).scores;
      forVectors(0, topK, [&](int64_t n, auto lanes) { lanes.store(of + n, AttentionInspection::probability(lanes.load(of + n), rowLse)); });
    }
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
