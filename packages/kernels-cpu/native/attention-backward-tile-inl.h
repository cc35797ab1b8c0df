// Steps 2 to 6 of the backward pass: P and dS of one tile, from Q, K, V, dout and lse, or from the P that the forward pass has saved.
// Mirrors core-math/src/attention-backward-tile.ts.
#pragma once
#include "attention-problem-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Floats from a row of P and dS to the next. dV and dK read columns: an odd number of cache lines spreads those over all cache sets.
constexpr int64_t kBackwardStride = kBackwardBlockN + kLineFloats;
static_assert(kBackwardStride / kLineFloats % 2 == 1 && kTileStride / kLineFloats % 2 == 1, "columns of tiles use all cache sets");

// Tiles of one task in the worker's scratch.
struct BackwardTiles {
  float *kPanels, *kRows, *vPanels, *dkTile, *dvTile;  // of the key block
  float *qRows, *doutRows, *p, *ds;                    // of the row block at hand
  float *shift, *delta;                                // of its rows: what their scores are compared with, and delta
  float* g;                                            // gradient of the scores behind the softcap; ds itself where it is not asked for or the same

  BackwardTiles(char* scratch, const AttentionProblem& a, int64_t blockN, bool keepsG) {
    float* next = reinterpret_cast<float*>(scratch);
    auto take = [&](int64_t n) {
      float* at = next;
      next += padTo(n, 16);
      return at;
    };
    kPanels = take(blockN * a.size.headDim), kRows = take(blockN * kTileStride), vPanels = take(blockN * a.size.headDimV);
    dkTile = take(blockN * a.headDimPad), dvTile = take(blockN * a.headDimVPad);
    qRows = take(kBackwardBlockM * kTileStride), doutRows = take(kBackwardBlockM * kTileStride);
    p = take(kBackwardBlockM * kBackwardStride), ds = take(kBackwardBlockM * kBackwardStride);
    shift = take(kBackwardBlockM), delta = take(kBackwardBlockM);
    g = keepsG && a.options.softcap > 0 ? take(kBackwardBlockM * kBackwardStride) : ds;
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
  int64_t blockN = pickBlockN();
  const float *lse, *probabilities, *delta;
  bool ownDelta = false;  // a tile has whole rows: delta comes from dout and out, or from P and dP, where they are at hand

  explicit AttentionBackwardTile(Reader& args) : AttentionProblem(args), lse(args.ptr()), probabilities(args.ptr()) {}

  // Keys per block, by shape and options alone: kBackwardBlockN, or half of it for wide heads, under a block mask, whose tiles are then no smaller than half a
  // block, and where too few heads would leave threads without tasks.
  int64_t pickBlockN() const {
    const bool fewTasks = size.nHeadsK * size.keyBlocks(kBackwardBlockN).count() < kBackwardTasks;
    return options.blockMask.given || fewTasks || headDimPad + headDimVPad > kBackwardDims ? kBackwardBlockN / 2 : kBackwardBlockN;
  }

  Range keyBlock(const Sequence& s, int64_t nBlock) const { return {nBlock * blockN, minOf(s.schedule.seqlenK, (nBlock + 1) * blockN)}; }
  Range rowBlock(const Sequence& s, int64_t mBlock) const { return {mBlock * kBackwardBlockM, minOf(s.schedule.seqlenQ, (mBlock + 1) * kBackwardBlockM)}; }

  // Whether `rows`, a row block, visit the key block from keyBase on.
  bool visits(const Sequence& s, int64_t h, Range rows, int64_t keyBase) const {
    return options.nextKey(s, h, rows.begin, rows.end, keyBase) < keyBase + blockN;
  }

  // Keys of the tile that rows [begin, end) see, from a whole panel to a whole vector, relative to the key block.
  Range stripKeys(const BackwardTile& tile, int64_t begin, int64_t end) const {
    const Range visited = tile.sequence.schedule.visitedKeys(begin, end);
    return {maxOf(tile.keys.begin - tile.keyBase, visited.begin - tile.keyBase) / kNR * kNR,
            padTo(minOf(tile.keys.end, visited.end) - tile.keyBase, kLanes)};
  }

  // What the scores of row i are compared with. A row that sees nothing has lse −∞; +∞ instead makes P zero, and no NaN of −∞ − −∞.
  float shiftOf(const BackwardTile& tile, int64_t i) const {
    const float rowLse = lse[size.headRows(tile.sequence, tile.h) + i];
    return rowLse == -__builtin_inff() ? __builtin_inff() : rowLse * kLog2e;
  }

  // Where the probabilities of row i begin, which the forward pass has saved: [B, Hq, Sq, Sk].
  const float* probabilitiesOf(const Sequence& s, int64_t h, int64_t i) const { return probabilities + (size.headRows(s, h) + i) * size.seqlenK; }

  // P and dS of the strip of rows from r on, into the tiles t.p and t.ds.
  void tileGradients(const BackwardTile& tile, int64_t r, Range seen, const BackwardTiles& t, RowPrefetch& ahead) const {
    const int64_t begin = tile.rows.begin + r, end = minOf(tile.rows.end, begin + kMR), key = tile.keyBase + seen.begin, keyEnd = tile.keyBase + seen.end;
    const bool modified = options.hasAddend() || options.dropout.threshold > 0 || options.softcap > 0;
    if (probabilities) {
      loadProbabilities(tile, r, seen, t);
      gradientTiles<Scores::saved>(tile, r, seen, t, ahead);
    } else {
      modified ? gradientTiles<Scores::modified>(tile, r, seen, t, ahead) : gradientTiles<Scores::plain>(tile, r, seen, t, ahead);
    }
    const bool full = options.full(tile.sequence, tile.h, begin, end, key, keyEnd);
    if (full && !modified && !probabilities) return;
    for (int64_t i = begin; i < end; i++, r++) {
      const int64_t at = r * kBackwardStride + seen.begin;
      float *p = t.p + at, *ds = t.ds + at, *g = t.g + at;
      if (probabilities) {
        savedRow(tile, i, key, seen.end - seen.begin, p, ds, t.delta[r]);
      } else if (modified) {
        modifiedRow(tile, i, key, seen.end - seen.begin, p, ds, g, t.shift[r], t.delta[r]);
      }
      if (full) continue;
      options.maskRow(tile.sequence, tile.h, i, key, keyEnd, p, 0.0f);
      options.maskRow(tile.sequence, tile.h, i, key, keyEnd, ds, 0.0f);
      if (g != ds) options.maskRow(tile.sequence, tile.h, i, key, keyEnd, g, 0.0f);
    }
  }

 private:
  // What a register tile does about P: compute it, or S for modifiedRow, or nothing, since it was saved. All but the first leave dP for a pass over whole rows.
  enum class Scores { plain, modified, saved };

  template <Scores scores>
  void gradientTiles(const BackwardTile& tile, int64_t r, Range seen, const BackwardTiles& t, RowPrefetch& ahead) const {
    const int64_t begin = tile.rows.begin + r, end = minOf(tile.rows.end, begin + kMR);
    int64_t j = seen.begin;
    for (; j + kNR <= seen.end; j += kNR) {
      ahead.next();
      if (scores == Scores::modified) options.prefetchBias(tile.sequence, tile.h, begin, end, tile.keyBase + j);
      gradientTile<scores, kNV>(r, j, t);
    }
    for (; j < seen.end; j += kLanes) gradientTile<scores, 1>(r, j, t);
  }

  // One register tile, kMR rows from r against NV vectors of keys from j.
  template <Scores scores, int NV>
  TILEGRAD_INLINE void gradientTile(int64_t r, int64_t j, const BackwardTiles& t) const {
    float *p = t.p + r * kBackwardStride + j, *ds = t.ds + r * kBackwardStride + j;
    const float *shift = t.shift + r, *rowDelta = t.delta + r;
    const int64_t panel = j / kNR * kNR, at = j - panel;
    VF acc[kMR][NV];
    // 3. S = q·kᵀ, in the units that Q was scaled to, and 5. P = exp(S − lse), while S is in registers and the next product runs
    if constexpr (scores != Scores::saved) {
      clear(acc);
      multiplyAdd<kMR, NV, int(kTileStride), 1>(size.headDim, t.qRows + r * kTileStride, t.kPanels + panel * size.headDim + at, kNR, acc);
#pragma GCC unroll 16
      for (int i = 0; i < kMR; i++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) store(p + i * kBackwardStride + v * kLanes, scores == Scores::modified ? acc[i][v] : exp2(acc[i][v] - splat(shift[i])));
    }
    // 4. dP = dout·vᵀ and 6. dS = P∘(dP − delta)
    clear(acc);
    multiplyAdd<kMR, NV, int(kTileStride), 1>(size.headDimV, t.doutRows + r * kTileStride, t.vPanels + panel * size.headDimV + at, kNR, acc);
#pragma GCC unroll 16
    for (int i = 0; i < kMR; i++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) {
        const int64_t to = i * kBackwardStride + v * kLanes;
        store(ds + to, scores == Scores::plain ? load(p + to) * (acc[i][v] - splat(rowDelta[i])) : acc[i][v]);
      }
  }

  // 3. and 5. P of a strip, from the forward pass
  void loadProbabilities(const BackwardTile& tile, int64_t r, Range seen, const BackwardTiles& t) const {
    const int64_t i = tile.rows.begin + r, key = tile.keyBase + seen.begin;
    loadTileRows<kBackwardStride>(probabilitiesOf(tile.sequence, tile.h, i) + key, size.seqlenK, minOf(kMR, tile.rows.end - i), kMR,
                                  minOf(tile.keyBase + seen.end, size.seqlenK) - key, seen.end - seen.begin, 1.0f, t.p + r * kBackwardStride + seen.begin);
  }

  // 6. dS from a row of P that was saved and dP. Of a whole row delta is Σ P∘dP, what dout·out stands for (arXiv 2205.14135, appendix B.2, eq. 4): P and dP are in L1,
  // and out need not be read at all. p becomes what multiplied V, dropped and scaled.
  void savedRow(const BackwardTile& tile, int64_t i, int64_t key, int64_t count, float* p, float* ds, float rowDelta) const {
    float factors[kBackwardBlockN];  // of dropout
    const bool drops = options.dropout.threshold > 0;
    if (drops) {
      for (int64_t j = 0; j < count; j += kLanes) store(factors + j, splat(options.dropout.keepScale));
      options.dropout.dropRow(i, tile.sequence.b * size.nHeads + tile.h, key, count, factors);
      for (int64_t j = 0; j < count; j += kLanes) store(ds + j, load(ds + j) * load(factors + j));
    }
    VF sum = {};
    for (int64_t j = 0; ownDelta && j < count; j += kLanes) sum = mulAdd(load(p + j), load(ds + j), sum);
    const VF deltaV = splat(ownDelta ? sumLanes(sum) : rowDelta);
    for (int64_t j = 0; j < count; j += kLanes) store(ds + j, load(p + j) * (load(ds + j) - deltaV));
    for (int64_t j = 0; drops && j < count; j += kLanes) store(p + j, load(p + j) * load(factors + j));
  }

  // 5. and 6. with what is added to scores, with the softcap and with dropout, in place of S and dP: P is what multiplied V, dropped and scaled; g is dS before the
  // softcap's slope.
  void modifiedRow(const BackwardTile& tile, int64_t i, int64_t key, int64_t count, float* p, float* ds, float* g, float shift, float rowDelta) const {
    const VF shiftV = splat(shift), deltaV = splat(rowDelta), afterTanh = splat(options.afterTanh());
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
      const VF probability = exp2(s + add.at(key + j) - shiftV);
      const VF gradient = probability * (load(ds + j) * factor - deltaV);
      store(p + j, probability * factor);
      store(g + j, gradient);
      store(ds + j, gradient * slope);
    }
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
