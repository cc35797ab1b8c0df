// Exact attention, forward: FlashAttention-2's loop order (arXiv 2307.08691, algorithm 1). Mirrors core-math/src/attention-forward.ts.
//
// Nested tiling: a task owns kBlockM query rows of one head, or all rows of a key head one kBlockM after the other (its Q and O rows stay in L2); for each kBlockN keys (K and V tiles of
// kBlockN·(D + Dv) floats, 128 KiB at D 64, read from L2 by every strip of the task) it runs strips of kMR rows whose
// scores (kMR × kBlockN floats, 8 KiB) stay in L1 between q·kᵀ, softmax and P·v; register tiles are kMR × kNR. The scores of a strip are computed while the
// probabilities of the strip before are, panel by row: the exponentials fill what the products leave of a core's ports, and the row maxima have time.
// Prefetching the next tile in software gained nothing over what the hardware does.
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once per task from L3, everything else once.
//
// Workspace (floats): K panels B·Hk·SkPad·D and V rows B·Hk·SkPad·DvPad (SkPad: to whole blocks of kKeyPad), unless tasks pack their own; if nSplits > 1, partial results nSplits·B·Hq·Sq·(DvPad + 2).
#pragma once
#include "attention-output-inl.h"
#include "softmax-online-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// What a strip carries from its scores to its share of O.
struct ForwardStrip {
  float *scores, *o;
  const float* v;    // the first of its keys
  Range rows, keys;  // which they are
  OnlineSoftmax<kMR>* softmax;
  OnlineSoftmax<kMR>::Step step;
  int64_t count = 0;  // keys
  int row = kMR;      // the rows before it are probabilities

  TILEGRAD_INLINE void exponentiateRow() {
    softmax->exponentiate(row, step.shift[row], step.rescale[row], scores + row * kBlockN, count);
    row++;
  }
};

struct AttentionForward : AttentionForwardProblem {
  RowBlocks queryBlocks = size.queryBlocks(kBlockM), keyBlocks = size.keyBlocks(kBlockN), keyPads = size.keyBlocks(kKeyPad);
  // Where one task reads all that it packs, it packs tile by tile into its scratch, and there is no phase of packing to wait for. attention-workspace.ts knows.
  bool ownKeys = size.seqlenQ <= kBlockM && size.groupSize() == 1 && nSplits == 1;
  int64_t packedKeys = ownKeys ? 0 : size.nHeadsK * keyPads.count() * kKeyPad;
  float* kPanels = workspace;
  float* vRows = kPanels + packedKeys * size.headDim;
  AttentionOutput output{*this, vRows + packedKeys * headDimVPad};

  using AttentionForwardProblem::AttentionForwardProblem;

  // Where the packed keys of a sequence's key head begin, in rows.
  int64_t packedRow(const Sequence& s, int64_t hk) const { return (hk * keyPads.count() + keyPads.first(s.b)) * kKeyPad; }

  // Keys [keys.begin, keys.end) of one key head.
  void packTile(const Sequence& s, int64_t hk, Range keys, float* kTile, float* vTile) const {
    const int64_t rows = minOf(keys.end, s.schedule.seqlenK) - keys.begin, rowsPad = padTo(rows, kNR);  // strips read whole panels and no more
    if (rows <= 0) return;
    packPanels<kNR>(k + kStrides.at(s.b, s.offsetK + keys.begin, hk), kStrides.seq, rows, rowsPad, size.headDim, kTile);
    packRows(v + vStrides.at(s.b, s.offsetK + keys.begin, hk), vStrides.seq, rows, rowsPad, size.headDimV, headDimVPad, 1.0f, vTile);
  }

  // One task packs kBlockN keys of one head, for all query blocks and all query heads of its group.
  void packKeys(int64_t task) const {
    const int64_t block = task / size.nHeadsK, hk = task % size.nHeadsK;
    const Sequence s = size.sequence(keyBlocks.sequenceOf(block));
    const int64_t begin = (block - keyBlocks.first(s.b)) * kBlockN, key = packedRow(s, hk) + begin;
    packTile(s, hk, {begin, begin + kBlockN}, kPanels + key * size.headDim, vRows + key * headDimVPad);
  }

  // Whether a key head is one task, which packs its keys into scratch and goes through all its query blocks: K and V stay in L2, and nobody waits for others to
  // pack. Not where threads would have too few heads to share them evenly. What is computed is the same either way.
  bool byHead(int64_t threads) const {
    const int64_t heads = size.batchSize * size.nHeadsK, most = ceilDiv(heads, threads);
    if (size.packed() || ownKeys || nSplits > 1 || most < kHeadsPerThread || most * threads - heads > heads / 20) return false;
    return padTo(size.seqlenK, kKeyPad) * (size.headDim + headDimVPad) <= kHeadFloats;
  }

  // All packed keys of one key head; null: the task packs tile by tile.
  struct PackedHead {
    const float *k, *v;
  };
  PackedHead packedHead(const Sequence& s, int64_t hk) const {
    if (ownKeys) return {nullptr, nullptr};
    return {kPanels + packedRow(s, hk) * size.headDim, vRows + packedRow(s, hk) * headDimVPad};
  }

  // Packed keys [begin, end).
  struct KeyTile {
    const float *k, *v;
    int64_t begin, end;
  };

  // How many of the first `count` keys from keyBegin on all rows see, in whole panels: those need no mask, and their maxima are known. With vectors of 4 floats, not having
  // to look at them again takes 1 to 2 % less time under causal masks; with AVX-512, knowing it took 1 to 2 % more.
  int64_t seenByAll(const Sequence& s, int64_t rowBegin, int64_t rowEnd, int64_t keyBegin, int64_t count) const {
    if (kLanes > 4 || options.blockMask.given || s.schedule.visibleKeys(rowEnd - 1).begin > keyBegin) return 0;
    return maxOf(0, minOf(count, s.schedule.visibleKeys(rowBegin).end - keyBegin)) / kNR * kNR;
  }

  // Scores of one strip of rows against what it sees of a tile, while the strip before computes its probabilities. False: it sees nothing.
  TILEGRAD_INLINE bool scoreStrip(const Sequence& s, int64_t h, const float* qRows, int64_t rowBegin, int64_t rowEnd, const KeyTile& tile,
                                  ForwardStrip& strip, ForwardStrip& before, RowPrefetch& ahead) const {
    // 2. what the strip sees of the tile, from a whole panel to a whole vector; the rest is skipped
    const Range visited = s.schedule.visitedKeys(rowBegin, rowEnd);
    const int64_t keyBegin = maxOf(tile.begin, visited.begin) / kNR * kNR;
    const int64_t keyEnd = minOf(tile.end, padTo(visited.end, kLanes));
    if (keyEnd <= keyBegin) return false;
    const int64_t count = keyEnd - keyBegin;
    // 3. scores = q·kᵀ and their row maxima
    const bool full = options.full(s, h, rowBegin, rowEnd, keyBegin, keyEnd);
    const bool changed = options.softcap > 0 || options.hasAddend();
    const int64_t first = full || changed ? 0 : seenByAll(s, rowBegin, rowEnd, keyBegin, count);
    VF tileMax[kMR], firstMax[kMR];
    for (int r = 0; r < kMR; r++) tileMax[r] = firstMax[r] = splat(-__builtin_inff());
    const float* kPanel = tile.k + (keyBegin - tile.begin) * size.headDim;
    float* scores = strip.scores;
    int64_t j = 0;
    for (; j + kNR <= count; j += kNR, kPanel += kNR * size.headDim) {
      options.prefetchBias(s, h, rowBegin, rowEnd, keyBegin + j);
      ahead.next();
      scorePanel<kMR, kNV>(qRows, kPanel, scores + j, tileMax);
      if (before.row < kMR) before.exponentiateRow();
      if (kLanes == 4 && j + kNR == first)
        for (int r = 0; r < kMR; r++) firstMax[r] = tileMax[r];
    }
    for (; j < count; j += kLanes, kPanel += kLanes) scorePanel<kMR, 1>(qRows, kPanel, scores + j, tileMax);
    // 3. softcap, ALiBi and bias, 4. mask and softmax
    if (!full || changed) {
      for (int r = 0; r < kMR && rowBegin + r < rowEnd; r++) {
        float* row = scores + r * kBlockN;
        if (options.softcap > 0) options.softcapRow(count, row);
        if (options.hasAddend()) options.addRow(s, h, rowBegin + r, keyBegin, count, row);
        if (!full) options.maskRow(s, h, rowBegin + r, keyBegin + first, keyEnd, row + first, -__builtin_inff());
        tileMax[r] = firstMax[r];
        for (int64_t j = first; j < count; j += kLanes) tileMax[r] = max(tileMax[r], load(row + j));
      }
    }
    strip.step = strip.softmax->advance(tileMax);
    strip.v = tile.v + (keyBegin - tile.begin) * headDimVPad;
    strip.rows = {rowBegin, rowEnd}, strip.keys = {keyBegin, keyEnd};
    strip.count = count;
    strip.row = 0;
    return true;
  }

  TILEGRAD_INLINE void finishStrip(const Sequence& s, int64_t h, ForwardStrip& strip) const {
    // 4. the rest of its softmax; rescale O where a row's maximum has grown
    while (strip.row < kMR) strip.exponentiateRow();
    if (strip.count == 0) return;
    for (int r = 0; r < kMR && !strip.step.first; r++) {
      if (strip.step.rescale[r] == 1.0f) continue;
      const VF rescale = splat(strip.step.rescale[r]);
      float* o = strip.o + r * headDimVPad;
      for (int64_t d = 0; d < headDimVPad; d += kLanes) store(o + d, load(o + d) * rescale);
    }
    // The backward pass gets P as it is before dropout. Its keys are all in this tile: there are no more than kBlockN.
    if (probabilities) output.saveRows(s, h, strip.rows, strip.keys, strip.softmax->rowMax, strip.softmax->rowSums(), strip.scores, kBlockN);
    // 5. O += P·v, with what dropout leaves of P; the row sums have all of it
    if (options.dropout.threshold > 0) {
      for (int64_t i = strip.rows.begin; i < strip.rows.end; i++) {
        options.dropout.dropRow(i, s.b * size.nHeads + h, strip.keys.begin, strip.count, strip.scores + (i - strip.rows.begin) * kBlockN);
      }
    }
    if (strip.step.first) {
      multiplyStrip<kMR, int(kBlockN), 1, false>(strip.count, strip.scores, strip.v, headDimVPad, strip.o, headDimVPad, headDimVPad);
    } else {
      multiplyStrip<kMR, int(kBlockN), 1, true>(strip.count, strip.scores, strip.v, headDimVPad, strip.o, headDimVPad, headDimVPad);
    }
    strip.count = 0;
  }

  // The next up to kBlockN keys of [from, end): under a block mask, of a run of visited tiles.
  Range nextTile(const Sequence& s, int64_t h, Range rows, int64_t from, int64_t end) const {
    if (!options.blockMask.given) return {from, minOf(from + kBlockN, end)};
    const int64_t begin = maxOf(from, options.nextKey(s, h, rows.begin, rows.end, from) / kKeyPad * kKeyPad);
    return {begin, begin < end ? options.blockMask.runEnd(s.b, h, rows.begin, begin, minOf(begin + kBlockN, end)) : begin};
  }

  // Products of MR rows and NV vectors of keys of one panel, and their row maxima while they are in registers. Nothing that is not unrolled may touch them:
  // with a loop over them here for the softcap, taken or not, V8 stored all of them in every step of k, 15 % of the time in WebAssembly.
  template <int MR, int NV>
  TILEGRAD_INLINE void scorePanel(const float* qRows, const float* kPanel, float* scores, VF (&tileMax)[MR]) const {
    VF acc[MR][NV];
    clear(acc);
    multiplyAdd<MR, NV, int(kTileStride), 1>(size.headDim, qRows, kPanel, kNR, acc);
    storeTile(acc, scores, kBlockN);
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) tileMax[r] = max(tileMax[r], acc[r][v]);
  }

  // A task's part of its worker's scratch.
  struct Tiles {
    float *qRows, *o, *scores[2], *kTile, *vTile;
    OnlineSoftmax<kMR>* softmax;

    Tiles(char* scratch, const AttentionForward& a) {
      softmax = reinterpret_cast<OnlineSoftmax<kMR>*>(scratch);
      qRows = reinterpret_cast<float*>(softmax + kBlockM / kMR);
      o = qRows + kBlockM * kTileStride;
      scores[0] = o + kBlockM * a.headDimVPad, scores[1] = scores[0] + kMR * kBlockN;
      kTile = scores[1] + kMR * kBlockN, vTile = kTile + kBlockN * a.size.headDim;
    }
  };

  struct QueryBlockTask {
    int64_t block, h, split;
  };
  Range rowsOf(const Sequence& s, int64_t block) const {
    const int64_t begin = (block - queryBlocks.first(s.b)) * kBlockM;
    return {begin, minOf(s.schedule.seqlenQ, begin + kBlockM)};
  }

  // The rows of Q that a task reads first.
  void addTask(QueryBlockTask task, RowPrefetch& ahead) const {
    const Sequence s = size.sequence(queryBlocks.sequenceOf(task.block));
    const Range rows = rowsOf(s, task.block);
    ahead.add(q + qStrides.at(s.b, s.offsetQ + rows.begin, task.h), qStrides.seq, size.headDim, rows.end - rows.begin);
  }

  // One task: kBlockM rows of one head, and one of nSplits parts of the keys that they see.
  void queryBlock(QueryBlockTask task, const PackedHead& head, RowPrefetch& ahead, char* scratch) const {
    const auto [block, h, split] = task;
    const Sequence s = size.sequence(queryBlocks.sequenceOf(block));
    const auto [rowBegin, rowEnd] = rowsOf(s, block);
    const int64_t rows = rowEnd - rowBegin;
    if (rows <= 0) return;
    const int64_t strips = ceilDiv(rows, kMR), rowsPad = strips * kMR;
    const int64_t hk = h / size.groupSize();
    const Tiles t(scratch, *this);
    // 1. load the Q tile, scaled
    loadTileRows(q + qStrides.at(s.b, s.offsetQ + rowBegin, h), qStrides.seq, rows, rowsPad, size.headDim, headDimPad,
                 options.softmaxScale * options.scoreUnit(), t.qRows);
    for (int64_t n = 0; n < strips; n++) t.softmax[n].reset();

    const Range part = splitKeys(s.schedule.visitedKeys(rowBegin, rowEnd), kBlockN, split, nSplits);
    const int64_t keyEnd = minOf(part.end, padTo(s.schedule.seqlenK, kKeyPad));
    if (!ownKeys && nSplits == 1) ahead.add(out + ((s.rowQ + rowBegin) * size.nHeads + h) * size.headDimV, size.nHeads * size.headDimV, size.headDimV, rows);
    ahead.spread(strips * (keyEnd - part.begin) / kNR);
    ForwardStrip work[2];
    work[0].scores = t.scores[0], work[1].scores = t.scores[1];
    int at = 0;
    for (Range keys = nextTile(s, h, {rowBegin, rowEnd}, part.begin, keyEnd); !keys.empty(); keys = nextTile(s, h, {rowBegin, rowEnd}, keys.end, keyEnd)) {
      KeyTile tile{t.kTile, t.vTile, keys.begin, keys.end};
      if (ownKeys) {
        packTile(s, hk, keys, t.kTile, t.vTile);
      } else {
        tile.k = head.k + keys.begin * size.headDim, tile.v = head.v + keys.begin * headDimVPad;
      }
      for (int64_t n = 0; n < strips; n++) {
        ForwardStrip &strip = work[at], &before = work[at ^ 1];
        strip.softmax = t.softmax + n, strip.o = t.o + n * kMR * headDimVPad;
        const int64_t begin = rowBegin + n * kMR;
        if (!scoreStrip(s, h, t.qRows + n * kMR * kTileStride, begin, minOf(rowEnd, begin + kMR), tile, strip, before, ahead)) continue;
        finishStrip(s, h, before);
        at ^= 1;
      }
      if (ownKeys) finishStrip(s, h, work[at ^ 1]);  // its values make room for the next tile's
    }
    finishStrip(s, h, work[at ^ 1]);
    // 6. divide by the row sums once, and write O and lse
    for (int64_t n = 0; n < strips; n++) {
      float* o = t.o + n * kMR * headDimVPad;
      if (t.softmax[n].empty) {
        memset(o, 0, size_t(kMR * headDimVPad) * 4);
        const Range none = {rowBegin + n * kMR, minOf(rowEnd, rowBegin + (n + 1) * kMR)};
        if (probabilities) output.saveRows(s, h, none, {0, 0}, t.softmax[n].rowMax, t.softmax[n].rowSums(), t.scores[0], kBlockN);
      }
      output.write(s.rowQ + rowBegin + n * kMR, minOf(kMR, rows - n * kMR), h, split, t.softmax[n].rowMax, t.softmax[n].rowSums(), o);
    }
  }

  // One task of those by head.
  void keyHead(int64_t b, int64_t hk, char* scratch) const {
    const Sequence s = size.sequence(b);
    const int64_t keysPad = padTo(size.seqlenK, kKeyPad), blocks = ceilDiv(size.seqlenQ, kBlockM);
    float* k = Tiles(scratch, *this).kTile;
    float* v = k + keysPad * size.headDim;
    for (int64_t begin = 0; begin < size.seqlenK; begin += kBlockN) {
      packTile(s, hk, {begin, begin + kBlockN}, k + begin * size.headDim, v + begin * headDimVPad);
    }
    for (int64_t h = hk * size.groupSize(); h < (hk + 1) * size.groupSize(); h++) {
      for (int64_t block = 0; block < blocks; block++) {
        RowPrefetch ahead(bytes());
        if (block + 1 < blocks) addTask({b * blocks + block + 1, h, 0}, ahead);
        queryBlock({b * blocks + block, h, 0}, {k, v}, ahead, scratch);
      }
    }
  }
};

inline void attention_forward(Reader& args, Context& ctx) {
  const AttentionForward attention(args);
  const AttentionSizes& size = attention.size;
  if (attention.byHead(ctx.pool.threads())) {
    parallelFor(ctx.pool, size.batchSize * size.nHeadsK, [&](int64_t task, int worker) {
      attention.keyHead(task / size.nHeadsK, task % size.nHeadsK, ctx.scratch(worker));
    });
    return;
  }
  if (!attention.ownKeys) parallelFor(ctx.pool, size.nHeadsK * attention.keyBlocks.count(), [&](int64_t task, int) { attention.packKeys(task); });
  // Head by head of one sequence, or of all where they have different lengths.
  const int64_t blocks = size.packed() ? attention.queryBlocks.count() : ceilDiv(size.seqlenQ, kBlockM);
  const int64_t sequences = size.packed() ? 1 : size.batchSize, nSplits = attention.nSplits, perHead = blocks * nSplits, tasks = sequences * size.nHeads * perHead;
  const auto queryBlockOf = [&](int64_t task) {
    const int64_t head = task / perHead, sequence = head / size.nHeads;
    // The last rows first: under a causal mask they see the most keys, and the long tasks should not come last.
    return AttentionForward::QueryBlockTask{sequence * blocks + blocks - 1 - task % perHead / nSplits, head % size.nHeads, task % nSplits};
  };
  parallelFor(ctx.pool, tasks, [&](int64_t index, int worker) {
    const auto task = queryBlockOf(index);
    const Sequence s = size.sequence(attention.queryBlocks.sequenceOf(task.block));
    RowPrefetch ahead(attention.bytes());
    // With n threads a thread's next task is n further on, more often than not. Tasks that pack their own keys are too short: what asking costs is more than it saves.
    if (!attention.ownKeys && index + ctx.pool.threads() < tasks) attention.addTask(queryBlockOf(index + ctx.pool.threads()), ahead);
    attention.queryBlock(task, attention.packedHead(s, task.h / size.groupSize()), ahead, ctx.scratch(worker));
  });
  attention.output.mergeSplits(ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
