// Exact attention, forward: FlashAttention-2's loop order (arXiv 2307.08691, algorithm 1). Mirrors core-math/src/attention-forward.ts.
//
// Nested tiling: a task owns kBlockM query rows of one head (its Q panels and O rows stay in L2); for each kBlockN keys (K and V tiles of
// kBlockN·(D + Dv) floats, 128 KiB at D 64, read from L2 by every strip of the task) it runs strips of kMR rows whose scores (kMR × kBlockN floats, 8 KiB) stay in L1 between
// q·kᵀ, softmax and P·v; register tiles are kMR × kNR.
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once per task from L3, everything else once.
//
// Workspace (floats): K panels B·Hk·SkPad·D, V rows B·Hk·SkPad·DvPad and, if nSplits > 1, partial results nSplits·B·Hq·Sq·(DvPad + 2).
#pragma once
#include "attention-output-inl.h"
#include "mask-inl.h"
#include "softmax-online-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kBlockM = 64;
constexpr int64_t kBlockN = 256;

struct AttentionForward : AttentionForwardProblem {
  int64_t seqlenKPad = padTo(size.seqlenK, kKeyPad), nMBlocks = ceilDiv(size.seqlenQ, kBlockM);
  float* kPanels = workspace;
  float* vRows = kPanels + size.batchSize * size.nHeadsK * seqlenKPad * size.headDim;
  AttentionOutput output{*this, vRows + size.batchSize * size.nHeadsK * seqlenKPad * headDimVPad};

  using AttentionForwardProblem::AttentionForwardProblem;

  // One task packs kBlockN keys of one head, for all query blocks and all query heads of its group.
  void packKeys(int64_t task) const {
    const int64_t nBlocks = ceilDiv(size.seqlenK, kBlockN);
    const int64_t head = task / nBlocks, begin = task % nBlocks * kBlockN;  // head: b·nHeadsK + hk
    const int64_t b = head / size.nHeadsK, hk = head % size.nHeadsK;
    const int64_t rows = minOf(kBlockN, size.seqlenK - begin), rowsPad = padTo(rows, kNR);  // strips read whole panels and no more
    packPanels<kNR>(k + b * kStrides.batch + hk * kStrides.head + begin * kStrides.seq, kStrides.seq, rows, rowsPad, size.headDim,
                    kPanels + (head * seqlenKPad + begin) * size.headDim);
    packRows(v + b * vStrides.batch + hk * vStrides.head + begin * vStrides.seq, vStrides.seq, rows, rowsPad, size.headDimV, headDimVPad, 1.0f,
             vRows + (head * seqlenKPad + begin) * headDimVPad);
  }

  // One strip of MR rows against keys [keyBegin, keyEnd): the inner loop of everything. `rowEnd` bounds the rows that exist.
  template <int MR>
  TILEGRAD_INLINE void strip(const float* qPanel, const float* kHead, const float* vHead, int64_t rowBegin, int64_t rowEnd, int64_t tileBegin,
                             int64_t tileEnd, float* scores, OnlineSoftmax<MR>& softmax, float* o) const {
    // 2. what the strip sees of the tile, from a whole panel to a whole vector; the rest is skipped
    const Range visited = schedule.visitedKeys(rowBegin, rowEnd);
    const int64_t keyBegin = maxOf(tileBegin, visited.begin) / kNR * kNR;
    const int64_t keyEnd = minOf(tileEnd, padTo(visited.end, kLanes));
    if (keyEnd <= keyBegin) return;
    const int64_t count = keyEnd - keyBegin;
    const bool full = schedule.full(rowBegin, rowEnd, keyBegin, keyEnd);
    // 3. scores = q·kᵀ and their row maxima
    VF tileMax[MR];
    for (int r = 0; r < MR; r++) tileMax[r] = splat(-__builtin_inff());
    int64_t j = 0;
    for (; j + kNR <= count; j += kNR) scorePanel<MR, kNV>(qPanel, kHead + (keyBegin + j) * size.headDim, scores + j, tileMax);
    for (int64_t v = 0; j < count; j += kLanes, v += kLanes) {
      scorePanel<MR, 1>(qPanel, kHead + (keyBegin + j - v) * size.headDim + v, scores + j, tileMax);
    }
    // 4. mask, softmax, and rescale O where a row's maximum has grown
    if (!full) {
      for (int r = 0; r < MR && rowBegin + r < rowEnd; r++) {
        float* row = scores + r * kBlockN;
        maskRow(schedule, rowBegin + r, keyBegin, keyEnd, row, -__builtin_inff());
        tileMax[r] = load(row);
        for (int64_t j = kLanes; j < count; j += kLanes) tileMax[r] = max(tileMax[r], load(row + j));
      }
    }
    const auto step = softmax.advance(tileMax);
    for (int r = 0; r < MR; r++) {
      softmax.exponentiate(r, step.shift[r], step.rescale[r], scores + r * kBlockN, count);
      if (step.rescale[r] != 1.0f) {
        const VF rescale = splat(step.rescale[r]);
        for (int64_t d = 0; d < headDimVPad; d += kLanes) store(o + r * headDimVPad + d, load(o + r * headDimVPad + d) * rescale);
      }
    }
    // 5. O += P·v
    multiplyAddStrip<MR, int(kBlockN), 1>(count, scores, vHead + keyBegin * headDimVPad, headDimVPad, o, headDimVPad, headDimVPad);
  }

  // Scores of MR rows against NV vectors of keys of one panel, and their row maxima while they are in registers.
  template <int MR, int NV>
  TILEGRAD_INLINE void scorePanel(const float* qPanel, const float* kPanel, float* scores, VF (&tileMax)[MR]) const {
    VF acc[MR][NV];
    clear(acc);
    multiplyAdd<MR, NV, 1, MR>(size.headDim, qPanel, kPanel, kNR, acc);
    if (options.softcap > 0) softcapTile(acc);
    storeTile(acc, scores, kBlockN);
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) tileMax[r] = max(tileMax[r], acc[r][v]);
  }

  template <int MR, int NV>
  TILEGRAD_INLINE void softcapTile(VF (&acc)[MR][NV]) const {
    for (int r = 0; r < MR; r++)
      for (int v = 0; v < NV; v++) acc[r][v] = tanh(acc[r][v]) * splat(options.afterTanh());
  }

  // One task: kBlockM rows of one head, and one of nSplits parts of the keys that they see.
  template <int MR>
  void queryBlock(int64_t b, int64_t h, int64_t mBlock, int64_t split, char* scratch) const {
    const int64_t rowBegin = mBlock * kBlockM, rowEnd = minOf(size.seqlenQ, rowBegin + kBlockM), rows = rowEnd - rowBegin;
    const int64_t strips = ceilDiv(rows, MR), rowsPad = strips * MR;
    const int64_t head = b * size.nHeadsK + h / size.groupSize();
    const float* kHead = kPanels + head * seqlenKPad * size.headDim;
    const float* vHead = vRows + head * seqlenKPad * headDimVPad;
    float* qPanels = reinterpret_cast<float*>(scratch);
    float* qRows = qPanels + kBlockM * headDimPad + kLanes;
    float* o = qRows + kBlockM * headDimPad;
    float* scores = o + kBlockM * headDimVPad;
    auto* softmax = reinterpret_cast<OnlineSoftmax<MR>*>(scores + MR * kBlockN);
    // 1. load the Q tile, scaled, as panels
    packRows(q + b * qStrides.batch + h * qStrides.head + rowBegin * qStrides.seq, qStrides.seq, rows, rows, size.headDim, headDimPad,
             options.softmaxScale * options.scoreUnit(), qRows);
    packPanels<MR>(qRows, headDimPad, rows, rowsPad, size.headDim, qPanels);
    memset(o, 0, size_t(rowsPad * headDimVPad) * 4);
    for (int64_t s = 0; s < strips; s++) softmax[s].reset();

    const Range part = splitKeys(schedule.visitedKeys(rowBegin, rowEnd), kBlockN, split, nSplits);
    for (int64_t key = part.begin; key < part.end; key += kBlockN) {
      const int64_t keyEnd = minOf(key + kBlockN, seqlenKPad);
      for (int64_t s = 0; s < strips; s++) {
        strip<MR>(qPanels + s * MR * size.headDim, kHead, vHead, rowBegin + s * MR, minOf(rowEnd, rowBegin + (s + 1) * MR), key, keyEnd, scores,
                  softmax[s], o + s * MR * headDimVPad);
      }
    }
    // 6. divide by the row sums once, and write O and lse
    for (int64_t i = 0; i < rows; i++) {
      const float rowMax = softmax[i / MR].rowMax[i % MR], rowSum = sumLanes(softmax[i / MR].rowSum[i % MR]);
      output.write(b, h, rowBegin + i, split, rowMax, rowSum, o + i * headDimVPad);
    }
  }
};

inline void attention_forward(Reader& args, Context& ctx) {
  const AttentionForward attention(args);
  const AttentionSizes& size = attention.size;
  parallelFor(ctx.pool, size.batchSize * size.nHeadsK * ceilDiv(size.seqlenK, kBlockN), [&](int64_t task, int) { attention.packKeys(task); });
  const int64_t nSplits = attention.nSplits, perHead = attention.nMBlocks * nSplits;
  parallelFor(ctx.pool, size.batchSize * size.nHeads * perHead, [&](int64_t task, int worker) {
    const int64_t head = task / perHead, b = head / size.nHeads, h = head % size.nHeads;
    // The last rows first: under a causal mask they see the most keys, and the long tasks should not come last.
    const int64_t mBlock = attention.nMBlocks - 1 - task % perHead / nSplits, split = task % nSplits;
    attention.queryBlock<kMR>(b, h, mBlock, split, ctx.scratch(worker));
  });
  attention.output.mergeSplits(ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
