// Gradient of exact attention, recomputing scores tile by tile (arXiv 2205.14135, algorithm 4). Mirrors core-math/src/attention-backward.ts.
//
// One pass per key block computes dK, dV and its share of dQ: five products per tile. Separate dK/dV and dQ passes would recompute q·kᵀ and dout·vᵀ and
// make seven. The shares of dQ are added in ascending nBlock order, whichever thread has them: a task waits until its predecessor has added to the
// row block. Tasks of neighbouring key blocks run one row block apart, so the wait is short, and dQ is bit-identical for any thread count.
//
// Nested tiling: a task owns blockN keys of one key head (K and V in both layouts and the dK and dV accumulators stay in L2, 5·blockN·D floats); for every query head of
// the group and every kBackwardBlockM rows it runs strips of kMR rows through S, P, dP and dS; register tiles are kMR × kNR.
// FLOPs: 2·Sq·Sk·(3·D + 2·Dv) per head, with saved probabilities one product of D less. Bytes: K and V once, Q, dout and dQ once per key block, from L3, a few lines at a time between register tiles: fetched when they
// are wanted they took 6 to 8 % of the time. Panels of K and V outermost, to keep them in L1, lost 1.5 to 3 %: P and dS then leave L1 before dQ needs them.
//
// Arguments: those of AttentionProblem; lse; probabilities (null: to be computed); dout, q, k, v, out, then the strides (batch, seq, head) of each; dq, dk, dv,
// workspace; those of OptionGradients. dq, dk and dv are contiguous. Workspace (floats): delta, as lse, and progress Hq·(blocks of queries).
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
  RowBlocks queryBlocks = size.queryBlocks(kBackwardBlockM), keyBlocks = size.keyBlocks(blockN);
  OptionGradients optionGradients;

  explicit AttentionBackward(Reader& args)
      : AttentionBackwardTile(args), dout(args.ptr()), q(args.ptr()), k(args.ptr()), v(args.ptr()), out(args.ptr()), doutStrides(args), qStrides(args),
        kStrides(args), vStrides(args), outStrides(args), dq(args.ptr()), dk(args.ptr()), dv(args.ptr()), deltas(args.ptr()),
        progress(reinterpret_cast<int32_t*>(deltas + size.nHeads * size.totalQ)), optionGradients(*this, args) {
    delta = deltas;
    ownDelta = oneKeyBlock();
  }
  AttentionBackward(const AttentionBackward&) = delete;

  // With one key block that all rows visit, its task has whole rows and computes their delta itself, and nobody waits for turns.
  bool oneKeyBlock() const {
    if (size.packed() || size.seqlenK == 0 || size.seqlenK > blockN || options.blockMask.given || optionGradients.dsink) return false;
    const Range visited = size.sequence(0).schedule.visitedQueries(0, size.seqlenK);
    return visited.begin == 0 && visited.end == size.seqlenQ;
  }

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

  struct KeyBlockTask {
    int64_t block, hk;  // block −1: none
  };
  // One task: all queries that see one key block of one key head.
  void keyBlockTask(KeyBlockTask task, KeyBlockTask nextTask, char* scratch, Pool& pool) const {
    const auto [block, hk] = task;
    const Sequence s = size.sequence(keyBlocks.sequenceOf(block));
    const int64_t nBlock = block - keyBlocks.first(s.b);
    const Range keys = keyBlock(s, nBlock);
    if (keys.empty()) return;
    const BackwardTiles t(scratch, *this, blockN, optionGradients.wantsTiles());
    const int64_t count = keys.end - keys.begin, countPad = padTo(count, kNR);
    // 1. load the K and V tiles: K as rows for dQ and, where S is computed, as panels; V as panels for dP
    loadTileRows(k + kStrides.at(s.b, s.offsetK + keys.begin, hk), kStrides.seq, count, countPad, size.headDim, headDimPad, 1.0f, t.kRows);
    if (!probabilities) packPanels<kNR>(t.kRows, kTileStride, countPad, countPad, size.headDim, t.kPanels);
    packPanels<kNR>(v + vStrides.at(s.b, s.offsetK + keys.begin, hk), vStrides.seq, count, countPad, size.headDimV, t.vPanels);
    const int64_t at = (s.rowK + keys.begin) * size.nHeadsK + hk;
    // 10. dK gets the softmax scale that S carries: Q came with it, in units of the scores
    const KeyGradient gradients[2] = {{dv + at * size.headDimV, t.dvTile, size.headDimV, headDimVPad, 1.0f},
                                      {dk + at * size.headDim, t.dkTile, size.headDim, headDimPad, 1.0f / options.scoreUnit()}};
    Visits visits(*this, s, hk, keys);
    if (visits.done()) {
      for (const KeyGradient& to : gradients)
        for (int64_t j = 0; j < count; j++) memset(to.out + j * size.nHeadsK * to.dim, 0, size_t(to.dim) * 4);
    }
    for (bool first = true; !visits.done(); first = false) {
      const int64_t h = visits.h, mBlock = visits.mBlock;
      const Range rows = rowBlock(s, mBlock);
      visits.next();
      const Step step = {{s, h, rows, presentKeys(s, h, rows, keys), keys.begin}, mBlock, nBlock, keys, first, visits.done()};
      RowPrefetch ahead(prefetches() ? 2 * bytes() : 0);
      // dQ's rows first: they are wanted from the first strip on.
      ahead.add(dqRow(s, h, rows.begin), size.nHeads * size.headDim, size.headDim, rows.end - rows.begin);
      if (!step.last) {
        addRows(s, visits.h, rowBlock(s, visits.mBlock), ahead);
      } else if (nextTask.block >= 0) {
        addTask(nextTask, ahead);
      }
      rowBlockStep(step, t, gradients, ahead, pool);
    }
  }

  // Where a task's sum over queries goes when its last tile is added: rows of dK or dV, nHeadsK·dim floats apart.
  struct KeyGradient {
    float *out, *tile;
    int64_t dim, dimPad;
    float factor;
  };

  // The row blocks that visit a key block, in the order in which a task takes them: all query heads of the group at a row block, so that those which add to one
  // tile of dbias follow each other closely; or head by head where the block mask has rows of its own for each.
  struct Visits {
    const AttentionBackward& a;
    const Sequence& s;
    Range keys, queries;
    int64_t together, hEnd, h, mBlock;

    Visits(const AttentionBackward& a, const Sequence& s, int64_t hk, Range keys)
        : a(a), s(s), keys(keys), queries(s.schedule.visitedQueries(keys.begin, keys.end)),
          together(a.options.blockMask.given && a.options.blockMask.nHeads > 1 ? 1 : a.size.groupSize()), hEnd((hk + 1) * a.size.groupSize()),
          h(hk * a.size.groupSize()), mBlock(queries.begin / kBackwardBlockM) {
      find();
    }
    bool done() const { return h == hEnd; }
    void next() {
      h++;
      if (h % together != 0) return;
      h -= together;
      mBlock++;
      find();
    }

   private:
    // Goes on to the first row block from here on that visits the keys.
    void find() {
      for (; h < hEnd; h += together, mBlock = queries.begin / kBackwardBlockM) {
        for (; mBlock * kBackwardBlockM < queries.end; mBlock++) {
          if (a.options.blockMask.given) {
            const int64_t query = a.options.blockMask.nextQuery(s.b, h, keys.begin, keys.end, mBlock * kBackwardBlockM);
            if (query >= queries.end) break;
            mBlock = query / kBackwardBlockM;
          }
          if (a.visits(s, h, a.rowBlock(s, mBlock), keys.begin)) return;
        }
      }
    }
  };

  // Between the products of a small tile there is no time to wait for rows in: asking for them is then as slow as loading them.
  bool prefetches() const {
    const int64_t rows = minOf(size.seqlenQ, kBackwardBlockM), keys = minOf(size.seqlenK, blockN);
    return rows * keys >= kPrefetchUses * (rows + keys);
  }

  void addRows(const Sequence& s, int64_t h, Range rows, RowPrefetch& ahead) const {
    const int64_t row = s.offsetQ + rows.begin, count = rows.end - rows.begin;
    ahead.add(q + qStrides.at(s.b, row, h), qStrides.seq, size.headDim, count);
    ahead.add(dout + doutStrides.at(s.b, row, h), doutStrides.seq, size.headDimV, count);
    if (probabilities) ahead.add(probabilitiesOf(s, h, rows.begin), size.seqlenK, size.seqlenK, count);
    if (ownDelta && !probabilities) ahead.add(out + outStrides.at(s.b, row, h), outStrides.seq, size.headDimV, count);
  }

  // What a task reads first.
  void addTask(KeyBlockTask task, RowPrefetch& ahead) const {
    const auto [block, hk] = task;
    const Sequence s = size.sequence(keyBlocks.sequenceOf(block));
    const Range keys = keyBlock(s, block - keyBlocks.first(s.b));
    if (keys.empty()) return;
    ahead.add(k + kStrides.at(s.b, s.offsetK + keys.begin, hk), kStrides.seq, size.headDim, keys.end - keys.begin);
    ahead.add(v + vStrides.at(s.b, s.offsetK + keys.begin, hk), vStrides.seq, size.headDimV, keys.end - keys.begin);
    const Visits visits(*this, s, hk, keys);
    if (!visits.done()) addRows(s, visits.h, rowBlock(s, visits.mBlock), ahead);
  }

  // The keys of the block whose tile in the block mask is not absent. Tiles of the mask are no smaller than half a key block, so that they are one range.
  Range presentKeys(const Sequence& s, int64_t h, Range rows, Range keys) const {
    if (!options.blockMask.given) return keys;
    const int64_t first = options.nextKey(s, h, rows.begin, rows.end, keys.begin) / kKeyPad * kKeyPad;
    return {first, options.blockMask.runEnd(s.b, h, rows.begin, first, keys.end)};
  }

  // One tile of a task: a row block of one query head against its key block.
  struct Step {
    BackwardTile tile;
    int64_t mBlock, nBlock;
    Range keys;  // of the block
    bool first, last;
  };

  void rowBlockStep(const Step& step, const BackwardTiles& t, const KeyGradient (&gradients)[2], RowPrefetch& ahead, Pool& pool) const {
    const BackwardTile& tile = step.tile;
    const int64_t rows = tile.rows.end - tile.rows.begin;
    const bool firstOfRows = ownDelta || nextKeyBlock(tile.sequence, tile.h, tile.rows, 0) == step.nBlock;
    int32_t* turn = progressOf(tile.sequence, tile.h, step.mBlock);
    const int64_t strips = ceilDiv(rows, kMR), keyStrips = ceilDiv(step.keys.end - step.keys.begin, kMR);
    ahead.spread(strips * keyStrips * kMR / kNR + keyStrips * (headDimPad + headDimVPad) / kNR);
    for (int64_t r = 0; r < rows; r += kMR) {
      loadStrip(tile, r, t);
      const int64_t begin = tile.rows.begin + r, end = minOf(tile.rows.end, begin + kMR);
      const Range seen = stripKeys(tile, begin, end);
      if (!seen.empty()) tileGradients(tile, r, seen, t, ahead);
      // 9. add to dQ when all earlier key blocks that visit these rows have
      if (r == 0 && !ownDelta) awaitTurn(turn, int32_t(step.nBlock), pool);
      if (!seen.empty() || firstOfRows) addQueryGradient(tile, r, seen.empty() ? Range{0, 0} : seen, firstOfRows, t);
    }
    optionGradients.addRowSums(tile, t);
    if (!ownDelta) passTurn(turn, nextKeyBlock(tile.sequence, tile.h, tile.rows, step.nBlock + 1));
    // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
    addKeyGradient(step, t.p, t.doutRows, gradients[0], ahead);
    addKeyGradient(step, t.ds, t.qRows, gradients[1], ahead);
    if (optionGradients.wantsTiles()) optionGradients.addTile(tile, step.mBlock, step.nBlock, t, pool);
  }

  // 2. load the Q and dout tiles, a strip at a time: Q scaled as the forward pass does, so that S is rounded alike and its error cancels in S − lse (docs/precision.md)
  void loadStrip(const BackwardTile& tile, int64_t r, const BackwardTiles& t) const {
    const Sequence& s = tile.sequence;
    const int64_t i = tile.rows.begin + r, row = s.offsetQ + i, count = minOf(kMR, tile.rows.end - i);
    const float* doutRows = dout + doutStrides.at(s.b, row, tile.h);
    loadTileRows(q + qStrides.at(s.b, row, tile.h), qStrides.seq, count, kMR, size.headDim, headDimPad, options.softmaxScale * options.scoreUnit(),
                 t.qRows + r * kTileStride);
    loadTileRows(doutRows, doutStrides.seq, count, kMR, size.headDimV, headDimVPad, 1.0f, t.doutRows + r * kTileStride);
    for (int64_t n = 0; n < kMR; n++) {
      const bool fills = n >= count;  // only the strip
      t.shift[r + n] = fills ? __builtin_inff() : shiftOf(tile, i + n);
      t.delta[r + n] = fills || (ownDelta && probabilities) ? 0.0f
                       : ownDelta ? rowDelta(doutRows + n * doutStrides.seq, out + outStrides.at(s.b, row + n, tile.h), size.headDimV)
                                  : delta[size.headRows(s, tile.h) + i + n];
    }
  }

  // 7. dQ += dS·K for one strip of rows, with the softmax scale that S carries; `first`: nothing has been added yet.
  void addQueryGradient(const BackwardTile& tile, int64_t r, Range seen, bool first, const BackwardTiles& t) const {
    const int64_t stride = size.nHeads * size.headDim;
    const float *ds = t.ds + r * kBackwardStride + seen.begin, *kRows = t.kRows + seen.begin * kTileStride;
    float* to = dqRow(tile.sequence, tile.h, tile.rows.begin + r);
    const VF scale = splat(options.softmaxScale);
    forColumns(headDimPad, [&](int64_t d, auto vectors) {
      VF acc[kMR][decltype(vectors)::count];
      clear(acc);
      multiplyAdd<kMR, decltype(vectors)::count, int(kBackwardStride), 1>(seen.end - seen.begin, ds, kRows + d, kTileStride, acc);
      forTile(acc, tile.rows.end - tile.rows.begin - r, size.headDim - d, [&](int64_t row, int64_t column, VF share, auto lanes) {
        float* at = to + row * stride + d + column;
        lanes.store(at, first ? share * scale : mulAdd(share, scale, lanes.load(at)));
      });
    });
  }

  // aᵀ·b for the tile's rows of b, a strip of keys at a time over the rows that see it, added to what the tiles before have left in to.tile, or, by the last tile, to
  // that and on to to.out.
  void addKeyGradient(const Step& step, const float* a, const float* b, const KeyGradient& to, RowPrefetch& ahead) const {
    const BackwardTile& tile = step.tile;
    const int64_t count = step.keys.end - step.keys.begin, stride = size.nHeadsK * to.dim;
    const Range present = {tile.keys.begin - tile.keyBase, tile.keys.end - tile.keyBase};
    const VF factor = splat(to.factor);
    for (int64_t j = 0; j < count; j += kMR) {
      const Range seeing = tile.sequence.schedule.visitedQueries(tile.keyBase + j, minOf(tile.keys.end, tile.keyBase + j + kMR));
      const int64_t begin = maxOf(tile.rows.begin, seeing.begin), from = begin - tile.rows.begin;
      const int64_t length = j < present.begin || j >= present.end ? 0 : maxOf(0, minOf(tile.rows.end, seeing.end) - begin);
      if (length == 0 && !step.first && !step.last) continue;
      const float *aStrip = a + from * kBackwardStride + j, *bRows = b + from * kTileStride;
      forColumns(to.dimPad, [&](int64_t d, auto vectors) {
        ahead.next();
        float* sum = to.tile + j * to.dimPad + d;
        VF acc[kMR][decltype(vectors)::count];
        clear(acc);
        if (length > 0) multiplyAdd<kMR, decltype(vectors)::count, 1, int(kBackwardStride)>(length, aStrip, bRows + d, kTileStride, acc);
        if (!step.first) loadAdd(acc, sum, to.dimPad);
        if (step.last) {
          forTile(acc, count - j, to.dim - d, [&](int64_t row, int64_t column, VF value, auto lanes) {
            lanes.store(to.out + (j + row) * stride + d + column, value * factor);
          });
        } else {
          storeTile(acc, sum, to.dimPad);
        }
      });
    }
  }

  static constexpr int32_t kNoKeyBlock = INT32_MAX;
  // The first key block ≥ nBlock that a row block visits.
  int32_t nextKeyBlock(const Sequence& s, int64_t h, Range rows, int64_t nBlock) const {
    const int64_t key = options.nextKey(s, h, rows.begin, rows.end, nBlock * blockN);
    return key == kFar ? kNoKeyBlock : int32_t(key / blockN);
  }

  int32_t* progressOf(const Sequence& s, int64_t h, int64_t mBlock) const { return progress + h * queryBlocks.count() + queryBlocks.first(s.b) + mBlock; }
  float* dqRow(const Sequence& s, int64_t h, int64_t i) const { return dq + ((s.rowQ + i) * size.nHeads + h) * size.headDim; }
};

inline void attention_backward(Reader& args, Context& ctx) {
  const AttentionBackward attention(args);
  const AttentionSizes& size = attention.size;
  if (!attention.ownDelta) parallelFor(ctx.pool, size.nHeads * attention.queryBlocks.count(), [&](int64_t task, int) { attention.preprocess(task); });
  // Heads and sequences of equal length vary fastest: neighbouring tasks then rarely share row blocks, and under a causal mask the long key blocks come first.
  const int64_t perSequence = size.packed() ? attention.keyBlocks.count() : ceilDiv(size.seqlenK, attention.blockN);
  const int64_t sequences = size.packed() ? 1 : size.batchSize, heads = sequences * size.nHeadsK, tasks = heads * perSequence;
  const auto keyBlockOf = [&](int64_t task) {
    return task < tasks ? AttentionBackward::KeyBlockTask{task % heads / size.nHeadsK * perSequence + task / heads, task % size.nHeadsK}
                        : AttentionBackward::KeyBlockTask{-1, 0};
  };
  parallelFor(ctx.pool, tasks, [&](int64_t task, int worker) {
    // With n threads a thread's next task is n further on, more often than not.
    attention.keyBlockTask(keyBlockOf(task), keyBlockOf(task + ctx.pool.threads()), ctx.scratch(worker), ctx.pool);
  });
  attention.optionGradients.merge(ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
