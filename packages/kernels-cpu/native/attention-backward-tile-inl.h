// Steps 2 to 6 of the backward pass: P and dS of one tile, recomputed from Q, K, V, dout and lse. Mirrors core-math/src/attention-backward-tile.ts.
#pragma once
#include "attention-problem-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kBackwardBlockM = 64;
constexpr int64_t kBackwardBlockN = 128;

// Tiles of one task in the worker's scratch.
struct BackwardTiles {
  float *kPanels, *kRows, *vPanels, *dkTile, *dvTile;  // of the key block
  float *qRows, *doutRows, *p, *ds, *dqTile;           // of the row block at hand
  float* g;                                            // gradient of the scores behind the softcap; ds itself where it is not asked for or the same

  BackwardTiles(char* scratch, const AttentionProblem& a, bool keepsG) {
    float* next = reinterpret_cast<float*>(scratch);
    auto take = [&](int64_t n) {
      float* at = next;
      next += padTo(n, 16);
      return at;
    };
    kPanels = take(kBackwardBlockN * a.size.headDim), kRows = take(kBackwardBlockN * a.headDimPad), vPanels = take(kBackwardBlockN * a.size.headDimV);
    dkTile = take(kBackwardBlockN * a.headDimPad), dvTile = take(kBackwardBlockN * a.headDimVPad);
    qRows = take(kBackwardBlockM * kTileStride), doutRows = take(kBackwardBlockM * kTileStride);
    p = take(kBackwardBlockM * kBackwardBlockN), ds = take(kBackwardBlockM * kBackwardBlockN), dqTile = take(kBackwardBlockM * a.headDimPad);
    g = keepsG && a.options.softcap > 0 ? take(kBackwardBlockM * kBackwardBlockN) : ds;
  }
};

// One tile: rows of query head h against the keys [keys.begin, keys.end) of a key block that the rows' tile of the block mask does not lack.
struct BackwardTile {
  const Sequence& sequence;
  int64_t h;
  Range rows, keys;
  int64_t keyBase;  // the first key of the key block: column 0 of the tiles
};

struct AttentionBackwardTile : AttentionProblem {
  const float *lse, *delta;

  explicit AttentionBackwardTile(Reader& args) : AttentionProblem(args), lse(args.ptr()) {}

  Range keyBlock(const Sequence& s, int64_t nBlock) const { return {nBlock * kBackwardBlockN, minOf(s.schedule.seqlenK, (nBlock + 1) * kBackwardBlockN)}; }
  Range rowBlock(const Sequence& s, int64_t mBlock) const { return {mBlock * kBackwardBlockM, minOf(s.schedule.seqlenQ, (mBlock + 1) * kBackwardBlockM)}; }

  // Whether `rows`, a row block, visit the key block from keyBase on.
  bool visits(const Sequence& s, int64_t h, Range rows, int64_t keyBase) const {
    return options.nextKey(s, h, rows.begin, rows.end, keyBase) < keyBase + kBackwardBlockN;
  }

  // Keys of the tile that rows [begin, end) see, in whole panels, relative to the key block.
  Range stripKeys(const BackwardTile& tile, int64_t begin, int64_t end) const {
    const Range visited = tile.sequence.schedule.visitedKeys(begin, end);
    return {maxOf(tile.keys.begin - tile.keyBase, visited.begin - tile.keyBase) / kNR * kNR,
            minOf(padTo(tile.keys.end - tile.keyBase, kNR), padTo(visited.end - tile.keyBase, kNR))};
  }

  // P and dS of one strip of rows, into the tiles t.p and t.ds at row s.
  void scoreGradients(const BackwardTile& tile, int64_t begin, int64_t end, Range seen, const BackwardTiles& t, int64_t s) const {
    const int64_t count = seen.end - seen.begin;
    const int64_t at = s * kBackwardBlockN + seen.begin;
    float *p = t.p + at, *ds = t.ds + at, *g = t.g + at;
    // 3. S = q·kᵀ, in the units that Q was scaled to, and 4. dP = dout·vᵀ
    for (int64_t j = 0; j < count; j += kNR) {
      options.prefetchBias(tile.sequence, tile.h, begin, end, tile.keyBase + seen.begin + j);
      VF acc[kMR][kNV];
      clear(acc);
      multiplyAdd<kMR, kNV, int(kTileStride), 1>(size.headDim, t.qRows + s * kTileStride, t.kPanels + (seen.begin + j) * size.headDim, kNR, acc);
      storeTile(acc, p + j, kBackwardBlockN);
      clear(acc);
      multiplyAdd<kMR, kNV, int(kTileStride), 1>(size.headDimV, t.doutRows + s * kTileStride, t.vPanels + (seen.begin + j) * size.headDimV, kNR, acc);
      storeTile(acc, ds + j, kBackwardBlockN);
    }
    const int64_t key = tile.keyBase + seen.begin, keyEnd = tile.keyBase + seen.end;
    const bool full = options.full(tile.sequence, tile.h, begin, end, key, keyEnd);
    const int64_t rowOfHead = size.headRows(tile.sequence, tile.h);
    for (int64_t r = 0; r < kMR; r++, p += kBackwardBlockN, ds += kBackwardBlockN, g += kBackwardBlockN) {
      const int64_t i = begin + r;
      if (i >= end) {  // a row that only fills the strip
        memset(ds, 0, size_t(count) * 4);
        continue;
      }
      // 5. P = exp(S − lse) and 6. dS = P∘(dP − delta), through the softcap
      const float rowLse = lse[rowOfHead + i], rowDelta = delta[rowOfHead + i];
      if (options.hasAddend() || options.dropout.threshold > 0 || g != ds) {
        modifiedRow(tile, i, key, count, p, ds, g, rowLse, rowDelta);
      } else if (options.softcap > 0) {
        rowGradients<true>(p, ds, count, rowLse, rowDelta);
      } else {
        rowGradients<false>(p, ds, count, rowLse, rowDelta);
      }
      if (!full) {
        options.maskRow(tile.sequence, tile.h, i, key, keyEnd, p, 0.0f);
        options.maskRow(tile.sequence, tile.h, i, key, keyEnd, ds, 0.0f);
        if (g != ds) options.maskRow(tile.sequence, tile.h, i, key, keyEnd, g, 0.0f);
      }
    }
  }

 private:
  // What a row's scores are compared with. A row that sees nothing has lse −∞; +∞ instead makes P zero, and no NaN of −∞ − −∞.
  static VF shiftOf(float rowLse) { return splat(rowLse == -__builtin_inff() ? __builtin_inff() : rowLse * kLog2e); }

  // P and dS in place of S and dP.
  template <bool softcapped>
  TILEGRAD_INLINE void rowGradients(float* p, float* ds, int64_t count, float rowLse, float rowDelta) const {
    const VF lse2 = shiftOf(rowLse), deltaV = splat(rowDelta), afterTanh = splat(options.afterTanh());
    for (int64_t j = 0; j < count; j += kLanes) {
      VF s = load(p + j);
      VF slope = splat(1.0f);
      if (softcapped) {
        const VF tanhS = tanh(s);
        slope = slope - tanhS * tanhS;
        s = tanhS * afterTanh;
      }
      const VF probability = exp2(s - lse2);
      VF gradient = probability * (load(ds + j) - deltaV);
      if (softcapped) gradient = gradient * slope;
      store(p + j, probability);
      store(ds + j, gradient);
    }
  }

  // rowGradients with what is added to scores and with dropout: P is what multiplied V, dropped and scaled; g is dS before the softcap's slope.
  void modifiedRow(const BackwardTile& tile, int64_t i, int64_t key, int64_t count, float* p, float* ds, float* g, float rowLse, float rowDelta) const {
    const VF lse2 = shiftOf(rowLse), deltaV = splat(rowDelta), afterTanh = splat(options.afterTanh());
    const bool softcapped = options.softcap > 0;
    const ScoreAddend add = options.addend(tile.sequence, tile.h, i);
    float factors[kBackwardBlockN];  // of dropout
    for (int64_t j = 0; j < count; j += kLanes) store(factors + j, splat(options.dropout.keepScale));
    if (options.dropout.threshold > 0) options.dropout.dropRow(i, tile.sequence.b * size.nHeads + tile.h, key, count, factors);
    for (int64_t j = 0; j < count; j += kLanes) {
      VF s = load(p + j);
      VF slope = splat(1.0f);
      if (softcapped) {
        const VF tanhS = tanh(s);
        slope = slope - tanhS * tanhS;
        s = tanhS * afterTanh;
      }
      const VF factor = load(factors + j);
      const VF probability = exp2(s + add.at(key + j) - lse2);
      const VF gradient = probability * (load(ds + j) * factor - deltaV);
      store(p + j, probability * factor);
      store(g + j, gradient);
      store(ds + j, gradient * slope);
    }
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
