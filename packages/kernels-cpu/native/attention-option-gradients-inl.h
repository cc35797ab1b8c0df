// Gradients of alibiSlopes, bias and sink, from G, the gradient of the scores behind the softcap, as the tiles of the backward pass have it:
// dbias = G, summed over the axes on which bias is broadcast; dalibiSlopes = −Σ G·distance; dsink = −Σ exp(sink − lse)·delta.
//
// Each sum has one order, whichever thread comes first. A bias with rows and keys of its own is added to tile by tile; where several heads share it, in the order
// of the heads: a tile waits for the head before, as for dQ it waits for the key block before. All other sums go through a partial sum per row, key or block and
// head; these are added in ascending order at the end. Workspace: at most B·Hq·(Sq + Sk) floats, and a counter per tile of a bias that heads share.
// FLOPs: 1 per score for dbias, 3 for dalibiSlopes.
#pragma once
#include "attention-backward-tile-inl.h"
#include "turns-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

struct OptionGradients {
  const AttentionBackwardTile& a;
  float *dalibiSlopes, *dbias, *dsink;  // null: not wanted
  bool alibiPerBatch;
  int64_t biasStrides[4];  // of dbias as [B, Hq, Sq, Sk]: 0 where it is broadcast
  const float* sink;
  int64_t sinkStride;
  float *alibiParts, *sinkParts;  // [Hq, blocks of keys], [Hq, blocks of queries]
  float* biasParts;               // [B, Hq, Sq] or [B, Hq, Sk], unless bias has both axes
  int32_t* turns;                 // per tile of a bias that has both: how many heads have added

  // Arguments: dalibiSlopes, whether it is [B, Hq]; dbias, its strides as [B, Hq, Sq, Sk]; dsink, sink and its stride; workspace, all zero as dbias is.
  OptionGradients(const AttentionBackwardTile& a, Reader& args)
      : a(a), dalibiSlopes(args.ptr()) {
    alibiPerBatch = args.flag();
    dbias = args.ptr();
    for (int64_t& stride : biasStrides) stride = args.i64();
    dsink = args.ptr(), sink = args.ptr(), sinkStride = args.i64();
    alibiParts = args.ptr();
    sinkParts = alibiParts + (dalibiSlopes ? a.size.nHeads * keyBlocks().count() : 0);
    biasParts = sinkParts + (dsink ? a.size.nHeads * queryBlocks().count() : 0);
    turns = reinterpret_cast<int32_t*>(biasParts);
  }

  bool wantsTiles() const { return dalibiSlopes || dbias; }

  // Of one row block, from its delta.
  void addSink(const Sequence& s, int64_t h, int64_t mBlock, Range rows) const {
    const float ofHead = sink[h * sinkStride];
    const int64_t first = a.size.headRows(s, h);
    float sum = 0;
    for (int64_t i = rows.begin; i < rows.end; i++) {
      const float rowLse = a.lse[first + i];
      if (rowLse != -__builtin_inff()) sum += exp(splat(ofHead - rowLse))[0] * a.delta[first + i];
    }
    sinkParts[h * queryBlocks().count() + queryBlocks().first(s.b) + mBlock] = -sum;
  }

  // What a tile adds to dalibiSlopes and dbias, but for the sums over keys.
  void addTile(const BackwardTile& tile, int64_t mBlock, int64_t nBlock, const BackwardTiles& t, Pool& pool) const {
    if (dalibiSlopes) addAlibi(tile, nBlock, t);
    if (!dbias || (perRow() && !perKey())) return;
    if (!perRow()) {
      float* parts = biasParts + (tile.sequence.b * a.size.nHeads + tile.h) * a.size.seqlenK;
      forRows(tile, t, [&](int64_t, Range keys, const float* g) { addTo(parts + tile.keyBase + keys.begin, g, keys.end - keys.begin); });
      return;
    }
    int32_t* turn = turns + tileIndex(tile, mBlock, nBlock);
    const int32_t rank = shared() ? headsBefore(tile) : 0;
    if (shared()) awaitTurn(turn, rank, pool);
    float* head = dbias + tile.sequence.b * biasStrides[0] + tile.h * biasStrides[1];
    forRows(tile, t, [&](int64_t i, Range keys, const float* g) { addTo(head + i * biasStrides[2] + tile.keyBase + keys.begin, g, keys.end - keys.begin); });
    if (shared()) passTurn(turn, rank + 1);
  }

  // The sums over the keys of a tile, for a bias per row; the caller holds the turn of the row block.
  void addRowSums(const BackwardTile& tile, const BackwardTiles& t) const {
    if (!dbias || !perRow() || perKey()) return;
    float* parts = biasParts + (tile.sequence.b * a.size.nHeads + tile.h) * a.size.seqlenQ;
    forRows(tile, t, [&](int64_t i, Range keys, const float* g) {
      VF sum = {};
      forVectors(0, keys.end - keys.begin, [&](int64_t j, auto lanes) { sum += lanes.load(g + j); });
      parts[i] += sumLanes(sum);
    });
  }

  // Adds up the partial sums.
  void merge(Context& ctx) const {
    if (dsink || dalibiSlopes) {
      parallelFor(ctx.pool, a.size.nHeads, [&](int64_t h, int) {
        if (dsink) dsink[h] = float(sumOf(sinkParts + h * queryBlocks().count(), queryBlocks().count()));
        if (dalibiSlopes) mergeAlibi(h);
      });
    }
    if (!dbias || (perRow() && perKey())) return;
    const int64_t heads = biasStrides[1] ? a.size.nHeads : 1;
    parallelFor(ctx.pool, (biasStrides[0] ? a.size.batchSize : 1) * heads, [&](int64_t task, int) { mergeBias(task / heads, task % heads); });
  }

 private:
  RowBlocks queryBlocks() const { return a.size.queryBlocks(kBackwardBlockM); }
  RowBlocks keyBlocks() const { return a.size.keyBlocks(a.blockN); }
  bool perRow() const { return biasStrides[2] != 0; }
  bool perKey() const { return biasStrides[3] != 0; }
  bool sharedByBatch() const { return biasStrides[0] == 0 && a.size.batchSize > 1; }
  bool sharedByHeads() const { return biasStrides[1] == 0 && a.size.nHeads > 1; }
  bool shared() const { return sharedByBatch() || sharedByHeads(); }

  int64_t tileIndex(const BackwardTile& tile, int64_t mBlock, int64_t nBlock) const {
    const int64_t b = biasStrides[0] ? tile.sequence.b : 0, h = biasStrides[1] ? tile.h : 0, heads = biasStrides[1] ? a.size.nHeads : 1;
    return ((b * heads + h) * ceilDiv(a.size.seqlenQ, kBackwardBlockM) + mBlock) * ceilDiv(a.size.seqlenK, a.blockN) + nBlock;
  }

  // Heads that add to the same tile of dbias before this one: those that share it, come earlier in (b, h) and visit the tile.
  int32_t headsBefore(const BackwardTile& tile) const {
    const int64_t b = tile.sequence.b, h = tile.h, nHeads = a.size.nHeads;
    const BlockMask& mask = a.options.blockMask;
    if (!mask.given || mask.batchSize * mask.nHeads == 1) {
      return int32_t((sharedByBatch() ? b * (sharedByHeads() ? nHeads : 1) : 0) + (sharedByHeads() ? h : 0));
    }
    int32_t before = 0;
    Sequence s = tile.sequence;
    for (s.b = sharedByBatch() ? 0 : b; s.b <= b; s.b++) {
      const int64_t end = s.b < b ? (sharedByHeads() ? nHeads : h + 1) : h;
      for (int64_t other = sharedByHeads() ? 0 : h; other < end; other++) before += a.visits(s, other, tile.rows, tile.keyBase);
    }
    return before;
  }

  // body(i, keys, g): row i, the keys that its strip sees, relative to the key block, and G from the first of them on.
  template <class F>
  void forRows(const BackwardTile& tile, const BackwardTiles& t, F&& body) const {
    for (int64_t i = tile.rows.begin; i < tile.rows.end; i++) {
      const int64_t r = i - tile.rows.begin, begin = tile.rows.begin + r / kMR * kMR;
      const Range seen = a.stripKeys(tile, begin, minOf(tile.rows.end, begin + kMR));
      const Range keys = {seen.begin, minOf(seen.end, tile.keys.end - tile.keyBase)};
      if (!keys.empty()) body(i, keys, t.g + r * kBackwardStride + keys.begin);
    }
  }

  static void addTo(float* to, const float* g, int64_t count) {
    forVectors(0, count, [&](int64_t j, auto lanes) { lanes.store(to + j, lanes.load(to + j) + lanes.load(g + j)); });
  }

  void addAlibi(const BackwardTile& tile, int64_t nBlock, const BackwardTiles& t) const {
    VF sum = {};
    forRows(tile, t, [&](int64_t i, Range keys, const float* g) {
      const int32_t first = int32_t(tile.keyBase + keys.begin - (i + tile.sequence.shift));
      forVectors(0, keys.end - keys.begin, [&](int64_t j, auto lanes) {
        sum = mulAdd(abs(__builtin_convertvector(iota() + splatInt(first + int32_t(j)), VF)), lanes.load(g + j), sum);
      });
    });
    alibiParts[tile.h * keyBlocks().count() + keyBlocks().first(tile.sequence.b) + nBlock] -= sumLanes(sum);
  }

  static double sumOf(const float* parts, int64_t count) {
    double sum = 0;
    for (int64_t n = 0; n < count; n++) sum += parts[n];
    return sum;
  }

  void mergeAlibi(int64_t h) const {
    const RowBlocks blocks = keyBlocks();
    const float* parts = alibiParts + h * blocks.count();
    if (!alibiPerBatch) {
      dalibiSlopes[h] = float(sumOf(parts, blocks.count()));
      return;
    }
    for (int64_t b = 0; b < a.size.batchSize; b++) {
      dalibiSlopes[b * a.size.nHeads + h] = float(sumOf(parts + blocks.first(b), blocks.first(b + 1) - blocks.first(b)));
    }
  }

  // Of the bias that batch b (0 if all share it) and head h (0 if all share it) have.
  void mergeBias(int64_t b, int64_t h) const {
    const int64_t length = perRow() ? a.size.seqlenQ : a.size.seqlenK, stride = perRow() ? biasStrides[2] : biasStrides[3];
    const Range batches = {b, biasStrides[0] ? b + 1 : a.size.batchSize}, heads = {h, biasStrides[1] ? h + 1 : a.size.nHeads};
    float* to = dbias + b * biasStrides[0] + h * biasStrides[1];
    double total = 0;
    for (int64_t x = 0; x < length; x++) {
      double sum = 0;
      for (int64_t of = batches.begin; of < batches.end; of++) {
        for (int64_t other = heads.begin; other < heads.end; other++) sum += biasParts[(of * a.size.nHeads + other) * length + x];
      }
      if (stride) to[x * stride] = float(sum);
      total += sum;
    }
    if (!stride) *to = float(total);
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
