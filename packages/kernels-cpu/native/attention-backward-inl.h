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
// Arguments: dout, q, k, v, out, lse, dq, dk, dv, workspace; batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV; strides (batch, seq, head) of dout, q, k, v,
// out; softmaxScale, softcap, diagonalMin, diagonalMax. dq, dk and dv are contiguous. Workspace (floats): delta B·Hq·Sq, progress B·Hq·⌈Sq/kBackwardBlockM⌉.
#pragma once
#include "attention-backward-preprocess-inl.h"
#include "mask-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kBackwardBlockM = 64;
constexpr int64_t kBackwardBlockN = 128;
// Q and dout tiles keep one row stride for every head dimension, so that it is a displacement in the register tile. 17 cache lines: an odd number spreads rows over all cache sets.
constexpr int64_t kTileStride = 272;

struct AttentionBackward {
  const float *dout, *q, *k, *v, *out, *lse;
  float *dq, *dk, *dv, *workspace;
  AttentionSizes size;
  HeadStrides doutStrides, qStrides, kStrides, vStrides, outStrides;
  ScoreOptions options;

  Schedule schedule;
  int64_t headDimPad, headDimVPad, nMBlocks, nNBlocks;
  float* delta;
  int32_t* progress;  // per (b, h, mBlock): how many key blocks have added to dQ

  explicit AttentionBackward(Reader& args) {
    dout = args.ptr(), q = args.ptr(), k = args.ptr(), v = args.ptr(), out = args.ptr(), lse = args.ptr();
    dq = args.ptr(), dk = args.ptr(), dv = args.ptr(), workspace = args.ptr();
    size.read(args);
    doutStrides = readStrides(args), qStrides = readStrides(args), kStrides = readStrides(args), vStrides = readStrides(args);
    outStrides = readStrides(args);
    options.read(args);
    schedule = Schedule(size.seqlenQ, size.seqlenK, options.diagonalMin, options.diagonalMax);
    headDimPad = padTo(size.headDim, kDimPad);
    headDimVPad = padTo(size.headDimV, kDimPad);
    nMBlocks = ceilDiv(size.seqlenQ, kBackwardBlockM);
    nNBlocks = ceilDiv(size.seqlenK, kBackwardBlockN);
    delta = workspace;
    progress = reinterpret_cast<int32_t*>(workspace + size.batchSize * size.nHeads * size.seqlenQ);
  }

  // Tiles of one task in the worker's scratch.
  struct Tiles {
    float *kPanels, *kRows, *vPanels, *dkTile, *dvTile;  // of the key block
    float *qRows, *doutRows, *p, *ds, *dqTile;           // of the row block at hand

    Tiles(char* scratch, const AttentionBackward& a) {
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
    }
  };

  Range keyBlock(int64_t nBlock) const { return {nBlock * kBackwardBlockN, minOf(size.seqlenK, (nBlock + 1) * kBackwardBlockN)}; }
  Range rowBlock(int64_t mBlock) const { return {mBlock * kBackwardBlockM, minOf(size.seqlenQ, (mBlock + 1) * kBackwardBlockM)}; }

  // Delta and progress of one row block; rows that no key block will visit get dQ = 0 here.
  void preprocess(int64_t task) const {
    const int64_t mBlock = task % nMBlocks, head = task / nMBlocks, b = head / size.nHeads, h = head % size.nHeads;
    const Range rows = rowBlock(mBlock);
    progress[task] = 0;
    const bool unvisited = schedule.visitedKeys(rows.begin, rows.end).empty();
    for (int64_t i = rows.begin; i < rows.end; i++) {
      delta[head * size.seqlenQ + i] = rowDelta(dout + b * doutStrides.batch + i * doutStrides.seq + h * doutStrides.head,
                                                out + b * outStrides.batch + i * outStrides.seq + h * outStrides.head, size.headDimV);
      if (unvisited) memset(dq + ((b * size.seqlenQ + i) * size.nHeads + h) * size.headDim, 0, size_t(size.headDim) * 4);
    }
  }

  // One task: all queries that see one key block of one key head.
  void keyBlockTask(int64_t b, int64_t hk, int64_t nBlock, char* scratch, Pool& pool) const {
    const Tiles t(scratch, *this);
    const Range keys = keyBlock(nBlock);
    const int64_t count = keys.end - keys.begin, countPad = padTo(count, kKeyPad);
    // 1. load the K and V tiles: K with the softmax scale, as rows for dQ and as panels for S; V as panels for dP
    const float* kFrom = k + b * kStrides.batch + hk * kStrides.head + keys.begin * kStrides.seq;
    const float* vFrom = v + b * vStrides.batch + hk * vStrides.head + keys.begin * vStrides.seq;
    packRows(kFrom, kStrides.seq, count, countPad, size.headDim, headDimPad, options.softmaxScale, t.kRows);
    packPanels<kNR>(t.kRows, headDimPad, countPad, countPad, size.headDim, t.kPanels);
    packPanels<kNR>(vFrom, vStrides.seq, count, countPad, size.headDimV, t.vPanels);
    memset(t.dkTile, 0, size_t(countPad * headDimPad) * 4);
    memset(t.dvTile, 0, size_t(countPad * headDimVPad) * 4);

    const Range rows = schedule.visitedQueries(keys.begin, keys.end);
    for (int64_t h = hk * size.groupSize(); h < (hk + 1) * size.groupSize() && !rows.empty(); h++) {
      for (int64_t mBlock = rows.begin / kBackwardBlockM; mBlock * kBackwardBlockM < rows.end; mBlock++) {
        rowBlockStep(b, h, mBlock, nBlock, t, pool);
      }
    }
    // 10. write dK (with the softmax scale that s carries) and dV
    const int64_t at = (b * size.seqlenK + keys.begin) * size.nHeadsK + hk;
    writeRows(t.dkTile, headDimPad, count, size.headDim, size.nHeadsK, options.softmaxScale, dk + at * size.headDim);
    writeRows(t.dvTile, headDimVPad, count, size.headDimV, size.nHeadsK, 1.0f, dv + at * size.headDimV);
  }

  // One tile: kBackwardBlockM rows of query head h against the key block.
  void rowBlockStep(int64_t b, int64_t h, int64_t mBlock, int64_t nBlock, const Tiles& t, Pool& pool) const {
    const Range rows = rowBlock(mBlock), keys = keyBlock(nBlock);
    const int64_t count = rows.end - rows.begin, rowsPad = padTo(count, kMR);
    // 2. load the Q and dout tiles
    loadRows(q + b * qStrides.batch + h * qStrides.head + rows.begin * qStrides.seq, qStrides.seq, count, rowsPad, size.headDim, headDimPad, t.qRows);
    loadRows(dout + b * doutStrides.batch + h * doutStrides.head + rows.begin * doutStrides.seq, doutStrides.seq, count, rowsPad, size.headDimV,
             headDimVPad, t.doutRows);
    for (int64_t s = 0; s < count; s += kMR) {
      const int64_t begin = rows.begin + s, end = minOf(rows.end, begin + kMR);
      const Range seen = stripKeys(begin, end, keys);
      float* dqStrip = t.dqTile + s * headDimPad;
      memset(dqStrip, 0, size_t(kMR * headDimPad) * 4);
      if (seen.empty()) continue;
      scoreGradients(b, h, begin, end, keys.begin, seen, t, s);
      // 7. dQ share = dS·K
      multiplyAddStrip<kMR, int(kBackwardBlockN), 1>(seen.end - seen.begin, t.ds + s * kBackwardBlockN + seen.begin, t.kRows + seen.begin * headDimPad,
                                                headDimPad, dqStrip, headDimPad, headDimPad);
    }
    // 8. dV += Pᵀ·dout and dK += dSᵀ·Q, a strip of keys at a time, over the rows that see it
    for (int64_t j = 0; j < keys.end - keys.begin; j += kMR) {
      const Range seeing = schedule.visitedQueries(keys.begin + j, minOf(keys.end, keys.begin + j + kMR));
      const int64_t from = maxOf(rows.begin, seeing.begin) - rows.begin, to = minOf(rows.end, seeing.end) - rows.begin;
      if (to <= from) continue;
      const int64_t at = from * kBackwardBlockN + j;
      multiplyAddStrip<kMR, 1, int(kBackwardBlockN)>(to - from, t.p + at, t.doutRows + from * kTileStride, kTileStride, t.dvTile + j * headDimVPad,
                                                headDimVPad, headDimVPad);
      multiplyAddStrip<kMR, 1, int(kBackwardBlockN)>(to - from, t.ds + at, t.qRows + from * kTileStride, kTileStride, t.dkTile + j * headDimPad,
                                                headDimPad, headDimPad);
    }
    addQueryGradient(b, h, mBlock, nBlock, t.dqTile, pool);
  }

  // Keys of the block that rows [begin, end) see, in whole panels, relative to the block.
  Range stripKeys(int64_t begin, int64_t end, Range keys) const {
    const Range visited = schedule.visitedKeys(begin, end);
    return {maxOf(0, visited.begin - keys.begin) / kNR * kNR, minOf(padTo(keys.end - keys.begin, kNR), padTo(visited.end - keys.begin, kNR))};
  }

  // P and dS of one strip of rows, into the tiles t.p and t.ds at row s.
  void scoreGradients(int64_t b, int64_t h, int64_t begin, int64_t end, int64_t keyBase, Range seen, const Tiles& t, int64_t s) const {
    const int64_t count = seen.end - seen.begin;
    float* p = t.p + s * kBackwardBlockN + seen.begin;
    float* ds = t.ds + s * kBackwardBlockN + seen.begin;
    // 3. S = q·kᵀ and 4. dP = dout·vᵀ
    for (int64_t j = 0; j < count; j += kNR) {
      VF acc[kMR][kNV];
      clear(acc);
      multiplyAdd<kMR, kNV, int(kTileStride), 1>(size.headDim, t.qRows + s * kTileStride, t.kPanels + (seen.begin + j) * size.headDim, kNR, acc);
      storeTile(acc, p + j, kBackwardBlockN);
      clear(acc);
      multiplyAdd<kMR, kNV, int(kTileStride), 1>(size.headDimV, t.doutRows + s * kTileStride, t.vPanels + (seen.begin + j) * size.headDimV, kNR, acc);
      storeTile(acc, ds + j, kBackwardBlockN);
    }
    const bool full = schedule.full(begin, end, keyBase + seen.begin, keyBase + seen.end);
    for (int64_t r = 0; r < kMR; r++, p += kBackwardBlockN, ds += kBackwardBlockN) {
      if (begin + r >= end) {  // a row that only fills the strip
        memset(ds, 0, size_t(count) * 4);
        continue;
      }
      // 5. P = exp(S − lse) and 6. dS = P∘(dP − delta), through the softcap
      const int64_t row = (b * size.nHeads + h) * size.seqlenQ + begin + r;
      if (options.softcap > 0) {
        rowGradients<true>(p, ds, count, lse[row], delta[row]);
      } else {
        rowGradients<false>(p, ds, count, lse[row], delta[row]);
      }
      if (!full) {
        maskRow(schedule, begin + r, keyBase + seen.begin, keyBase + seen.end, p, 0.0f);
        maskRow(schedule, begin + r, keyBase + seen.begin, keyBase + seen.end, ds, 0.0f);
      }
    }
  }

  template <bool softcapped>
  TILEGRAD_INLINE void rowGradients(float* p, float* ds, int64_t count, float rowLse, float rowDelta) const {
    const VF unit = splat(options.scoreUnit()), lse2 = splat(rowLse * kLog2e), deltaV = splat(rowDelta), afterTanh = splat(options.afterTanh());
    for (int64_t j = 0; j < count; j += kLanes) {
      VF s = load(p + j);
      VF slope = splat(1.0f);
      if (softcapped) {
        const VF tanhS = tanh(s * unit);
        slope = slope - tanhS * tanhS;
        s = tanhS * afterTanh;
      } else {
        s = s * unit;
      }
      const VF probability = exp2(s - lse2);
      VF gradient = probability * (load(ds + j) - deltaV);
      if (softcapped) gradient = gradient * slope;
      store(p + j, probability);
      store(ds + j, gradient);
    }
  }

  // 9. add the share of dQ when all earlier key blocks that visit these rows have added theirs
  void addQueryGradient(int64_t b, int64_t h, int64_t mBlock, int64_t nBlock, const float* dqTile, Pool& pool) const {
    const Range rows = rowBlock(mBlock);
    const int32_t rank = int32_t(nBlock - schedule.visitedKeys(rows.begin, rows.end).begin / kBackwardBlockN);
    int32_t* turn = progress + (b * size.nHeads + h) * nMBlocks + mBlock;
    for (int spins = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) != rank; spins++) {
      if (spins > 200) pool.yield();
    }
    for (int64_t i = rows.begin; i < rows.end; i++) {
      const float* from = dqTile + (i - rows.begin) * headDimPad;
      float* to = dq + ((b * size.seqlenQ + i) * size.nHeads + h) * size.headDim;
      int64_t d = 0;
      for (; d + kLanes <= size.headDim; d += kLanes) store(to + d, rank == 0 ? load(from + d) : load(to + d) + load(from + d));
      if (d < size.headDim) {
        const int64_t tail = size.headDim - d;
        storePartial(to + d, rank == 0 ? load(from + d) : loadPartial(to + d, tail) + load(from + d), tail);
      }
    }
    __atomic_store_n(turn, rank + 1, __ATOMIC_RELEASE);
  }

  // Rows into a tile of stride kTileStride, zero up to dimPad and up to rowsPad.
  static void loadRows(const float* from, int64_t stride, int64_t rows, int64_t rowsPad, int64_t dim, int64_t dimPad, float* to) {
    for (int64_t r = 0; r < rowsPad; r++) {
      float* y = to + r * kTileStride;
      int64_t d = 0;
      if (r < rows) {
        const float* x = from + r * stride;
        for (; d + kLanes <= dim; d += kLanes) store(y + d, load(x + d));
        if (d < dim) {
          store(y + d, loadPartial(x + d, dim - d));
          d += kLanes;
        }
      }
      for (; d < dimPad; d += kLanes) store(y + d, VF{});
    }
  }

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
  parallelFor(ctx.pool, size.batchSize * size.nHeads * attention.nMBlocks, [&](int64_t task, int) { attention.preprocess(task); });
  // Heads vary fastest: neighbouring tasks then rarely share row blocks, and under a causal mask the long key blocks come first.
  const int64_t heads = size.batchSize * size.nHeadsK;
  parallelFor(ctx.pool, heads * attention.nNBlocks, [&](int64_t task, int worker) {
    const int64_t nBlock = task / heads, head = task % heads;
    attention.keyBlockTask(head / size.nHeadsK, head % size.nHeadsK, nBlock, ctx.scratch(worker), ctx.pool);
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
