// Gradient of exact attention, recomputing scores tile by tile (arXiv 2205.14135, algorithm 4). Mirrors core-math/src/attention-backward.ts.
//
// One pass per key block computes dK, dV and its share of dQ: five products per tile. Separate dK/dV and dQ passes would recompute q·kᵀ and dout·vᵀ and
// make seven. The shares of dQ are added in ascending nBlock order, whichever thread has them: a task waits until its predecessor has added to the
// row block. Tasks of neighbouring key blocks run one row block apart, so the wait is short, and dQ is bit-identical for any thread count.
//
// Nested tiling: a task owns kBackwardBlockN keys of one key head (K and V in both layouts and the dK and dV accumulators stay in L2, 5·128·D floats); for every query head of
// the group and every kBackwardBlockM rows it runs strips of kMR rows through S, P, dP and dS; register tiles are kMR × kNR.
// FLOPs: 2·Sq·Sk·(3·D + 2·Dv) per head.
//
// Arguments: those of AttentionProblem; lse; dout, q, k, v, out, then the strides (batch, seq, head) of each; dq, dk, dv, workspace; those of OptionGradients.
// dq, dk and dv are contiguous. Workspace (floats): delta, as lse, and progress Hq·(blocks of queries).
#pragma once
#include "attention-backward-preprocess-inl.h"
#include "attention-option-gradients-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

struct AttentionBackward : AttentionBackwardTile {
  const float *dout, *q, *k, *v, *out;
  HeadStrides doutStrides, qStrides, kStrides, vStrides, outStrides;
  float *dq, *dk, *dv;
  float* deltas;
  int32_t* progress;  // per (h, row block): the next key block that adds to dQ
  RowBlocks queryBlocks = size.queryBlocks(kBackwardBlockM), keyBlocks = size.keyBlocks(kBackwardBlockN);
  OptionGradients optionGradients;

  explicit AttentionBackward(Reader& args)
      : AttentionBackwardTile(args), dout(args.ptr()), q(args.ptr()), k(args.ptr()), v(args.ptr()), out(args.ptr()), doutStrides(args), qStrides(args),
        kStrides(args), vStrides(args), outStrides(args), dq(args.ptr()), dk(args.ptr()), dv(args.ptr()), deltas(args.ptr()),
        progress(reinterpret_cast<int32_t*>(deltas + size.nHeads * size.totalQ)), optionGradients(*this, args) {
    delta = deltas;
  }
  AttentionBackward(const AttentionBackward&) = delete;

  // Delta and progress of one row block; rows that no key block will visit get dQ = 0 here.
  void preprocess(int64_t task) const {
    const int64_t block = task / size.nHeads, h = task % size.nHeads;
    const Sequence s = size.sequence(queryBlocks.sequenceOf(block));
    const int64_t mBlock = block - queryBlocks.first(s.b);
    const Range rows = rowBlock(s, mBlock);
    if (rows.empty()) return;
    const int32_t first = nextKeyBlock(s, h, rows, 0);
    *progressOf(s, h, mBlock) = first;
    for (int64_t i = rows.begin; i < rows.end; i++) {
      deltas[size.headRows(s, h) + i] = rowDelta(dout + doutStrides.at(s.b, s.offsetQ + i, h), out + outStrides.at(s.b, s.offsetQ + i, h), size.headDimV);
      if (first == kNoKeyBlock) memset(dqRow(s, h, i), 0, size_t(size.headDim) * 4);
    }
    if (optionGradients.dsink) optionGradients.addSink(s, h, mBlock, rows);
  }

  // One task: all queries that see one key block of one key head.
  void keyBlockTask(int64_t block, int64_t hk, char* scratch, Pool& pool) const {
    const Sequence s = size.sequence(keyBlocks.sequenceOf(block));
    const int64_t nBlock = block - keyBlocks.first(s.b);
    const Range keys = keyBlock(s, nBlock);
    if (keys.empty()) return;
    const BackwardTiles t(scratch, *this, optionGradients.wantsTiles());
    const int64_t count = keys.end - keys.begin, countPad = padTo(count, kKeyPad);
    // 1. load the K and V tiles: K as rows for dQ and as panels for S; V as panels for dP
    loadTileRows(k + kStrides.at(s.b, s.offsetK + keys.begin, hk), kStrides.seq, count, countPad, size.headDim, headDimPad, 1.0f, t.kRows);
    packPanels<kNR>(t.kRows, kTileStride, countPad, countPad, size.headDim, t.kPanels);
    packPanels<kNR>(v + vStrides.at(s.b, s.offsetK + keys.begin, hk), vStrides.seq, count, countPad, size.headDimV, t.vPanels);
    memset(t.dkTile, 0, size_t(countPad * headDimPad) * 4);
    memset(t.dvTile, 0, size_t(countPad * headDimVPad) * 4);

    // All query heads of the group at a row block, so that those which add to one tile of dbias follow each other closely; or head by head where the block
    // mask has rows of its own for each.
    const BlockMask& mask = options.blockMask;
    const int64_t heads = mask.given && mask.nHeads > 1 ? 1 : size.groupSize();
    for (int64_t h = hk * size.groupSize(); h < (hk + 1) * size.groupSize(); h += heads) queryHeads(s, {h, h + heads}, nBlock, t, pool);
    // 10. write dK, with the softmax scale that S carries: Q came with it, in units of the scores; and dV
    const int64_t at = (s.rowK + keys.begin) * size.nHeadsK + hk;
    writeRows(t.dkTile, headDimPad, count, size.headDim, size.nHeadsK, 1.0f / options.scoreUnit(), dk + at * size.headDim);
    writeRows(t.dvTile, headDimVPad, count, size.headDimV, size.nHeadsK, 1.0f, dv + at * size.headDimV);
  }

  // Query heads that visit the same row blocks, against the key block.
  void queryHeads(const Sequence& s, Range heads, int64_t nBlock, const BackwardTiles& t, Pool& pool) const {
    const Range keys = keyBlock(s, nBlock), visited = s.schedule.visitedQueries(keys.begin, keys.end);
    const BlockMask& mask = options.blockMask;
    for (int64_t mBlock = visited.begin / kBackwardBlockM; mBlock * kBackwardBlockM < visited.end && !visited.empty(); mBlock++) {
      if (mask.given) {
        const int64_t next = mask.nextQuery(s.b, heads.begin, keys.begin, keys.end, mBlock * kBackwardBlockM);
        if (next >= visited.end) break;
        mBlock = next / kBackwardBlockM;
      }
      const Range rows = rowBlock(s, mBlock);
      if (!visits(s, heads.begin, rows, keys.begin)) continue;
      for (int64_t h = heads.begin; h < heads.end; h++) rowBlockStep({s, h, rows, presentKeys(s, h, rows, keys), keys.begin}, mBlock, nBlock, t, pool);
    }
  }

  // The keys of the block whose tile in the block mask is not absent. Tiles of the mask are no smaller than half a key block, so that they are one range.
  Range presentKeys(const Sequence& s, int64_t h, Range rows, Range keys) const {
    if (!options.blockMask.given) return keys;
    const int64_t first = options.nextKey(s, h, rows.begin, rows.end, keys.begin) / kKeyPad * kKeyPad;
    return {first, options.blockMask.runEnd(s.b, h, rows.begin, first, keys.end)};
  }

  // One tile: a row block of one query head against the key block.
  void rowBlockStep(const BackwardTile& tile, int64_t mBlock, int64_t nBlock, const BackwardTiles& t, Pool& pool) const {
    const bool first = nextKeyBlock(tile.sequence, tile.h, tile.rows, 0) == nBlock;
    int32_t* turn = progressOf(tile.sequence, tile.h, mBlock);
    for (int64_t r = 0; r < tile.rows.end - tile.rows.begin; r += kMR) {
      loadStrip(tile, r, t);
      const int64_t begin = tile.rows.begin + r, end = minOf(tile.rows.end, begin + kMR);
      const Range seen = stripKeys(tile, begin, end);
      if (!seen.empty()) tileGradients(tile, r, seen, t, {dqRow(tile.sequence, tile.h, begin), size.nHeads * size.headDim, size.headDim, end - begin});
      // 9. add to dQ when all earlier key blocks that visit these rows have
      if (r == 0) awaitTurn(turn, int32_t(nBlock), pool);
      if (!seen.empty()) {
        addQueryGradient(tile, r, seen, first, t);
      } else if (first) {
        addQueryGradient(tile, r, {0, 0}, first, t);
      }
    }
    optionGradients.addRowSums(tile, t);
    passTurn(turn, nextKeyBlock(tile.sequence, tile.h, tile.rows, nBlock + 1));
    // 8. dV += Pᵀ·dout and dK += dSᵀ·Q, while the rows of the next tile come
    const Sequence& s = tile.sequence;
    const int64_t next = s.offsetQ + tile.rows.end, left = minOf(kBackwardBlockM, s.schedule.seqlenQ - tile.rows.end);
    addKeyGradient(tile, t.p, t.doutRows, headDimVPad, t.dvTile, {q + qStrides.at(s.b, next, tile.h), qStrides.seq, size.headDim, left});
    addKeyGradient(tile, t.ds, t.qRows, headDimPad, t.dkTile, {dout + doutStrides.at(s.b, next, tile.h), doutStrides.seq, size.headDimV, left});
    if (optionGradients.wantsTiles()) optionGradients.addTile(tile, mBlock, nBlock, t, pool);
  }

  // 2. load the Q and dout tiles, a strip at a time: Q scaled as the forward pass does, so that S is rounded alike and its error cancels in S − lse (docs/precision.md)
  void loadStrip(const BackwardTile& tile, int64_t r, const BackwardTiles& t) const {
    const Sequence& s = tile.sequence;
    const int64_t row = s.offsetQ + tile.rows.begin + r, count = minOf(kMR, tile.rows.end - tile.rows.begin - r);
    loadTileRows(q + qStrides.at(s.b, row, tile.h), qStrides.seq, count, kMR, size.headDim, headDimPad, options.softmaxScale * options.scoreUnit(),
                 t.qRows + r * kTileStride);
    loadTileRows(dout + doutStrides.at(s.b, row, tile.h), doutStrides.seq, count, kMR, size.headDimV, headDimVPad, 1.0f, t.doutRows + r * kTileStride);
    loadRowStates(tile, r, t);
  }

  // 7. dQ += dS·K for one strip of rows, with the softmax scale that S carries; `first`: nothing has been added yet.
  void addQueryGradient(const BackwardTile& tile, int64_t r, Range seen, bool first, const BackwardTiles& t) const {
    const int64_t rows = minOf(kMR, tile.rows.end - tile.rows.begin - r), stride = size.nHeads * size.headDim;
    const float *ds = t.ds + r * kBackwardStride + seen.begin, *kRows = t.kRows + seen.begin * kTileStride;
    float* to = dqRow(tile.sequence, tile.h, tile.rows.begin + r);
    const VF scale = splat(options.softmaxScale);
    const auto add = [&](float* at, VF share, auto lanes) { lanes.store(at, first ? share * scale : mulAdd(share, scale, lanes.load(at))); };
    for (int64_t d = 0; d < size.headDim; d += kNR) {
      VF acc[kMR][kNV];
      clear(acc);
      multiplyAdd<kMR, kNV, int(kBackwardStride), 1>(seen.end - seen.begin, ds, kRows + d, kTileStride, acc);
      if (rows == kMR && d + kNR <= size.headDim) {
#pragma GCC unroll 16
        for (int i = 0; i < kMR; i++)
#pragma GCC unroll 8
          for (int v = 0; v < kNV; v++) add(to + i * stride + d + v * kLanes, acc[i][v], WholeVector{});
      } else {
        float share[kMR * kNR];
        storeTile(acc, share, kNR);
        for (int64_t i = 0; i < rows; i++) {
          forVectors(0, minOf(kNR, size.headDim - d), [&](int64_t at, auto lanes) { add(to + i * stride + d + at, load(share + i * kNR + at), lanes); });
        }
      }
    }
  }

  // to += aᵀ·b for the tile's rows of b: a panel of columns of b stays in L1 while all strips of keys meet it, each over the rows that see it.
  void addKeyGradient(const BackwardTile& tile, const float* a, const float* b, int64_t dimPad, float* to, RowPrefetch ahead) const {
    const Range keys = {tile.keys.begin - tile.keyBase, tile.keys.end - tile.keyBase};
    const int64_t rowsAhead = ceilDiv(kBackwardBlockM * kMR * kNR, kBackwardBlockN * dimPad);
    for (int64_t d = 0; d < dimPad; d += kNR) {
      const int64_t columns = minOf(kNR, dimPad - d);
      for (int64_t j = keys.begin; j < keys.end; j += kMR) {
        const Range seeing = tile.sequence.schedule.visitedQueries(tile.keyBase + j, minOf(tile.keys.end, tile.keyBase + j + kMR));
        const int64_t begin = maxOf(tile.rows.begin, seeing.begin), from = begin - tile.rows.begin, length = minOf(tile.rows.end, seeing.end) - begin;
        if (length <= 0) continue;
        ahead.next(rowsAhead);
        multiplyStrip<kMR, 1, int(kBackwardStride), true>(length, a + from * kBackwardStride + j, b + from * kTileStride + d, kTileStride, to + j * dimPad + d,
                                                          dimPad, columns);
      }
    }
  }

  static constexpr int32_t kNoKeyBlock = INT32_MAX;
  // The first key block ≥ nBlock that a row block visits.
  int32_t nextKeyBlock(const Sequence& s, int64_t h, Range rows, int64_t nBlock) const {
    const int64_t key = options.nextKey(s, h, rows.begin, rows.end, nBlock * kBackwardBlockN);
    return key == kFar ? kNoKeyBlock : int32_t(key / kBackwardBlockN);
  }

  int32_t* progressOf(const Sequence& s, int64_t h, int64_t mBlock) const { return progress + h * queryBlocks.count() + queryBlocks.first(s.b) + mBlock; }
  float* dqRow(const Sequence& s, int64_t h, int64_t i) const { return dq + ((s.rowQ + i) * size.nHeads + h) * size.headDim; }

  static void writeRows(const float* tile, int64_t tileStride, int64_t rows, int64_t dim, int64_t nHeads, float factor, float* to) {
    const VF f = splat(factor);
    for (int64_t r = 0; r < rows; r++) {
      const float* x = tile + r * tileStride;
      float* y = to + r * nHeads * dim;
      int64_t d = 0;
      for (; d + kLanes <= dim; d += kLanes) store(y + d, load(x + d) * f);
      if (d < dim) storePartial(y + d, load(x + d) * f, dim - d);
    }
  }
};

inline void attention_backward(Reader& args, Context& ctx) {
  const AttentionBackward attention(args);
  const AttentionSizes& size = attention.size;
  parallelFor(ctx.pool, size.nHeads * attention.queryBlocks.count(), [&](int64_t task, int) { attention.preprocess(task); });
  // Heads and sequences of equal length vary fastest: neighbouring tasks then rarely share row blocks, and under a causal mask the long key blocks come first.
  const int64_t perSequence = size.packed() ? attention.keyBlocks.count() : ceilDiv(size.seqlenK, kBackwardBlockN);
  const int64_t sequences = size.packed() ? 1 : size.batchSize, heads = sequences * size.nHeadsK;
  parallelFor(ctx.pool, heads * perSequence, [&](int64_t task, int worker) {
    const int64_t block = task % heads / size.nHeadsK * perSequence + task / heads;
    attention.keyBlockTask(block, task % size.nHeadsK, ctx.scratch(worker), ctx.pool);
  });
  attention.optionGradients.merge(ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
