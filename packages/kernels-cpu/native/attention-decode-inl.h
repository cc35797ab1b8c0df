// Exact attention, forward, for a few queries per head: a decoding step, a few speculated tokens. The algorithm is attention-forward's, step by step,
// with other tiles; it mirrors core-math/src/attention-forward.ts as that does, and the merge of splits is FlashDecoding's.
//
// Few rows read each key, so time is what K and V take from memory: they are read once, in place, by all rows of the query heads that share a key head
// (packing would write and read them once more), and in the order in which they lie: a few keys at a time, of all heads of the task, as heads lie side by side.
// Head by head a row would be a few cache lines and a gap, which the hardware does not foresee. A task owns all key heads of one part of the keys, as far as
// their rows are at most kDecodeRows; a block of keys is read as two streams, K and then V, and the stream's next lines are asked for a few KiB ahead.
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once. Of the options it has all but dropout and block masks (attention-workspace.ts).
// Workspace (floats): partial results nSplits·B·Hq·Sq·(DvPad + 2) if nSplits > 1.
#pragma once
#include "attention-decode-strips-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Vectors of a row of V that a pass takes for MR rows of P.
template <int MR>
constexpr int decodeVectors = kDecodeAccumulators / MR < 4 ? kDecodeAccumulators / MR : 4;

// Head dimensions that the inner loops know: without loops of unknown length between its loads a core looks far enough ahead to keep memory busy.
template <int n>
struct KnownDim {
  static constexpr int value = n;
};
template <class F>
TILEGRAD_INLINE void forKnownDim(int64_t dim, F&& body) {
  if (dim == 64) {
    body(KnownDim<64>{});
  } else if (dim == 128) {
    body(KnownDim<128>{});
  } else {
    body(KnownDim<0>{});
  }
}

struct AttentionDecode : AttentionForwardProblem {
  AttentionOutput output{*this, workspace};

  using AttentionForwardProblem::AttentionForwardProblem;

  // The rows of a key head: all queries of its first query head, then of the next.
  int64_t rowsPerKeyHead() const { return size.groupSize() * size.seqlenQ; }
  int64_t headOf(const Sequence& s, int64_t hk, int64_t row) const { return hk * size.groupSize() + row / s.schedule.seqlenQ; }
  int64_t queryOf(const Sequence& s, int64_t row) const { return row % s.schedule.seqlenQ; }
  // How rows and key heads are cut into tasks: by shape alone.
  int64_t rowsPerTask() const { return minOf(rowsPerKeyHead(), kDecodeRows); }
  int64_t headsPerTask() const { return minOf(size.nHeadsK, kDecodeRows / rowsPerTask()); }
  int64_t blockN() const {
    const int64_t rows = headsPerTask() * padTo(rowsPerTask(), 4);
    return maxOf(kDecodeMinBlockN, minOf(kDecodeScoreFloats / rows / kDimPad * kDimPad, kDecodeMaxBlockN));
  }

  // As forVectors over [0, dim), unrolled: the hardware foresees best what differs by instruction.
  template <int kDim, class F>
  TILEGRAD_INLINE static void forDimension(int64_t anyDim, F&& body) {
    const int64_t dim = kDim ? kDim : anyDim;
    int64_t d = 0;
    for (; d + 4 * kLanes <= dim; d += 4 * kLanes) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) body(d + i * kLanes, WholeVector{});
    }
    if (kDim % (4 * kLanes) || !kDim) forVectors(d, dim, body);
  }

  // A key of all heads against their rows: the lanes of products[strip][r·kKeys + j] add up to the product of row r. A function of its own, with its arguments by
  // value, so that they stay in registers; kDim is the head dimension, kPerHead the strips of a key head, or 0 for any.
  template <int MR, int kDim, int kPerHead>
  __attribute__((noinline)) static void multiplyKey(DecodeStrips<MR> strips, KeyStream keys, int64_t key, KeysAhead ahead, int64_t j) {
    const int64_t headDim = kDim ? kDim : keys.dim, qStride = kDim ? kDim : strips.qStride;
    const float *row = keys.at(key, 0), *q = strips.q;
    VF* products = strips.products + j;
    for (int64_t head = 0; head < keys.nHeads; head++, row += keys.strides.head) {
      ahead.prefetchHead<1, kDim>();
      for (int64_t n = 0; n < (kPerHead ? kPerHead : strips.perHead); n++, products += kLanes, q += MR * qStride) {
        VF acc[MR] = {};
        const auto multiply = [&](int64_t d, auto lanes) {
          const VF kv = lanes.load(row + d);
#pragma GCC unroll 4
          for (int r = 0; r < MR; r++) acc[r] = mulAdd(load(q + r * qStride + d), kv, acc[r]);  // q has zeros beyond D
        };
        forDimension<kDim>(headDim, multiply);
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) products[r * DecodeStrip<MR>::kKeys] = acc[r];
      }
    }
  }

  // kKeys keys of a head against MR rows, every K vector loaded once for all: the lanes of products[r·kKeys + j] add up to the product of row r and key j.
  template <int MR, int kDim>
  TILEGRAD_INLINE void multiplyKeys(const float* qRows, const float* const* keys, VF* products) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    VF acc[MR][kKeys];
    clear(acc);
    forDimension<kDim>(size.headDim, [&](int64_t d, auto lanes) {
      VF kv[kKeys];
#pragma GCC unroll 4
      for (int j = 0; j < kKeys; j++) kv[j] = lanes.load(keys[j] + d);
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) {
        const VF qv = load(qRows + r * headDimPad + d);  // zeros beyond D
#pragma GCC unroll 4
        for (int j = 0; j < kKeys; j++) acc[r][j] = mulAdd(qv, kv[j], acc[r][j]);
      }
    });
    memcpy(products, acc, sizeof acc);
  }

  // The bias of the strip's rows and kKeys keys from `key` on, laid out as their scores; that of the last key past the end.
  template <int MR>
  TILEGRAD_INLINE VF biasTile(const DecodeStrip<MR>& state, int64_t key, int64_t seqlenK) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    float tile[kLanes];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++) {
      if (options.biasStrides[3] && key + kKeys <= seqlenK) {
        memcpy(tile + r * kKeys, state.bias[r] + key, kKeys * 4);
      } else {
        for (int64_t j = 0; j < kKeys; j++) tile[r * kKeys + j] = state.bias[r][options.biasStrides[3] * minOf(key + j, seqlenK - 1)];
      }
    }
    return load(tile);
  }

  // Scores of kKeys keys from `key` on, from their products: ALiBi, bias, mask.
  template <int MR>
  TILEGRAD_INLINE VF finishScores(VF* products, const DecodeStrip<MR>& state, int64_t key, int64_t seqlenK, bool full) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    VF score = sumEach(products);
    if (options.softcap > 0) score = tanh(score) * splat(options.afterTanh());
    const VI keys = (iota() & splatInt(kKeys - 1)) + splatInt(int32_t(key));
    if (options.alibiSlopes) score = mulAdd(abs(__builtin_convertvector(keys - state.aligned, VF)), state.slope, score);
    if (options.bias) score = mulAdd(biasTile(state, key, seqlenK), splat(kLog2e), score);
    if (!full) score = select((VI)(keys >= state.visibleBegin) & (VI)(keys < state.visibleEnd), score, splat(-__builtin_inff()));
    return score;
  }

  // Columns [d, d + NV vectors) of O += P·v for keys [begin, end), the products added up before they meet O (multiplyStrip says why).
  template <int MR, int NV, class Lanes>
  TILEGRAD_INLINE void accumulate(int64_t begin, int64_t end, const float* p, const float* vRow, float* o, Lanes lanes) const {
    constexpr int64_t kKeys = DecodeStrip<MR>::kKeys;
    VF acc[MR][NV];
    clear(acc);
    for (int64_t j = begin; j < end; j++, vRow += vStrides.seq) {
      const float* pj = p + j / kKeys * kLanes + j % kKeys;
      VF vv[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) vv[v] = lanes.load(vRow + v * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = mulAdd(splat(pj[r * kKeys]), vv[v], acc[r][v]);
    }
    for (int r = 0; r < MR; r++)
      for (int v = 0; v < NV; v++) {
        float* to = o + r * headDimVPad + v * kLanes;
        store(to, load(to) + acc[r][v]);
      }
  }

  // Columns [d, Dv) in panels of NV vectors, then of half as many, down to one that may be partial.
  template <int MR, int NV>
  TILEGRAD_INLINE void accumulateRows(int64_t d, int64_t begin, int64_t end, const float* p, const float* vRows, float* o) const {
    for (; d + NV * kLanes <= size.headDimV; d += NV * kLanes) accumulate<MR, NV>(begin, end, p, vRows + d, o + d, WholeVector{});
    if constexpr (NV > 1) {
      accumulateRows<MR, NV / 2>(d, begin, end, p, vRows, o);
    } else if (d < size.headDimV) {
      accumulate<MR, 1>(begin, end, p, vRows + d, o + d, PartialVector{size.headDimV - d});
    }
  }

  // 1. load the Q rows of a key head, scaled; rows past the end are zero and see what the last one sees
  template <int MR>
  void loadRows(const Sequence& s, int64_t hk, Range rows, const DecodeStrips<MR>& strips, int64_t first) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    float* qRows = strips.q + first * MR * headDimPad;
    memset(qRows, 0, size_t(strips.perHead * MR * headDimPad) * 4);
    memset(strips.o + first * MR * headDimVPad, 0, size_t(strips.perHead * MR * headDimVPad) * 4);
    for (int64_t r = 0; r < strips.perHead * MR; r++) {
      const int64_t row = minOf(rows.begin + r, rows.end - 1), i = queryOf(s, row), h = headOf(s, hk, row);
      if (rows.begin + r < rows.end) {
        packRows(q + qStrides.at(s.b, s.offsetQ + i, h), 0, 1, 1, size.headDim, headDimPad, options.softmaxScale * options.scoreUnit(), qRows + r * headDimPad);
      }
      DecodeStrip<MR>& state = strips.states[first + r / MR];
      if (r % MR == 0) {
        state.rowMax = splat(-__builtin_inff());
        state.rowSum = VF{};
      }
      const Range visible = s.schedule.visibleKeys(i);
      const ScoreAddend add = options.addend(s, h, i);
      state.bias[r % MR] = add.bias;
      for (int64_t j = r % MR * kKeys; j < (r % MR + 1) * kKeys; j++) {
        state.visibleBegin[j] = int32_t(minOf(visible.begin, s.schedule.seqlenK));
        state.visibleEnd[j] = int32_t(maxOf(visible.end, 0));
        state.aligned[j] = add.aligned;
        state.slope[j] = add.slope;
      }
    }
  }

  // Scores of a block of keys, all heads, and their maxima by lane.
  template <int MR, int kDim>
  void scoreBlock(const Sequence& s, const KeyStream& keys, const KeyStream& next, int64_t firstKey, bool full, const DecodeStrips<MR>& strips) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    for (int64_t n = 0; n < strips.count; n++) strips.states[n].blockMax = splat(-__builtin_inff());
    const auto finish = [&](int64_t n, int64_t j, VF* products) {
      DecodeStrip<MR>& state = strips.states[n];
      const VF score = finishScores<MR>(products, state, firstKey + j, s.schedule.seqlenK, full);
      store(strips.scoresOf(n) + j * MR, score);
      state.blockMax = max(state.blockMax, score);
    };
    for (int64_t j = 0; j < keys.count; j += kKeys) {
      // Keys past the end repeat the last one and are masked.
      const auto keyAt = [&](int64_t i) { return minOf(j + i, keys.count - 1); };
      if constexpr (kKeys <= kDecodeKeys) {
        KeysAhead ahead(keys, next, j, kKeys);
        const float *rows[kKeys], *qRows = strips.q;
        for (int i = 0; i < kKeys; i++) rows[i] = keys.at(keyAt(i), 0);
        for (int64_t n = 0, head = 0; head < keys.nHeads; head++) {
          ahead.prefetchHead<kKeys, kDim>();
          for (const int64_t end = n + strips.perHead; n < end; n++, qRows += MR * strips.qStride) {
            VF products[kLanes];
            multiplyKeys<MR, kDim>(qRows, rows, products);
            finish(n, j, products);
          }
          for (int i = 0; i < kKeys; i++) rows[i] += keys.strides.head;
        }
      } else {
        for (int64_t i = 0; i < kKeys; i++) {
          const KeysAhead ahead(keys, next, j + i, 1);
          if (MR == 1 && strips.perHead == 1) {
            multiplyKey<MR, kDim, 1>(strips, keys, keyAt(i), ahead, i);
          } else {
            multiplyKey<MR, kDim, 0>(strips, keys, keyAt(i), ahead, i);
          }
        }
        for (int64_t n = 0; n < strips.count; n++) finish(n, j, strips.products + n * kLanes);
      }
    }
  }

  // Scores of a strip become P, and what it has accumulated is rescaled where a row's maximum has grown.
  template <int MR>
  void softmaxStrip(int64_t count, DecodeStrip<MR>& state, float* scores, float* o) const {
    const VF shift = state.advance();
    VF sum = {};
    for (int64_t j = 0; j < count * MR; j += kLanes) {
      const VF p = exp2(load(scores + j) - shift);
      store(scores + j, p);
      sum += p;
    }
    state.rowSum += sum;
    for (int r = 0; r < MR; r++)
      for (int64_t d = r * headDimVPad; d < (r + 1) * headDimVPad; d += kLanes) store(o + d, load(o + d) * splat(state.rescale[r]));
  }

  // O += P·v for kDecodeKeys keys from `begin` on, all heads, as far as columns make whole panels; the products are added up before they meet O. As multiplyKey.
  template <int MR, int kDim, int kPerHead>
  __attribute__((noinline)) static void accumulateGroup(DecodeStrips<MR> strips, KeyStream values, int64_t begin, KeysAhead ahead, int64_t anyColumns) {
    constexpr int kKeys = DecodeStrip<MR>::kKeys, NV = decodeVectors<MR>;
    const int64_t columns = kDim ? kDim : anyColumns, oStride = kDim ? kDim : strips.oStride;
    const float *p = strips.scores + begin / kKeys * kLanes + begin % kKeys, *vRows = values.at(begin, 0);
    float* o = strips.o;
    for (int64_t head = 0; head < values.nHeads; head++, vRows += values.strides.head) {
      ahead.prefetchHead<kDecodeKeys, kDim>();
      for (int64_t n = 0; n < (kPerHead ? kPerHead : strips.perHead); n++, p += strips.scoresOfStrip, o += MR * oStride) {
        for (int64_t d = 0; d < columns; d += NV * kLanes) {
          VF acc[MR][NV];
          clear(acc);
          const float* row = vRows + d;
#pragma GCC unroll 4
          for (int j = 0; j < kDecodeKeys; j++, row += values.strides.seq) {
            VF vv[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) vv[v] = load(row + v * kLanes);
#pragma GCC unroll 4
            for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
              for (int v = 0; v < NV; v++) acc[r][v] = mulAdd(splat(p[r * kKeys + j / kKeys * kLanes + j % kKeys]), vv[v], acc[r][v]);
          }
#pragma GCC unroll 4
          for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) {
              float* to = o + d + r * oStride + v * kLanes;
              store(to, load(to) + acc[r][v]);
            }
        }
      }
    }
  }

  // O += P·v, a group of keys at a time.
  template <int MR, int kDim>
  void accumulateBlock(const KeyStream& values, const KeyStream& next, const DecodeStrips<MR>& strips) const {
    constexpr int64_t panel = decodeVectors<MR> * kLanes;
    for (int64_t begin = 0; begin < values.count; begin += kDecodeKeys) {
      const int64_t end = minOf(begin + kDecodeKeys, values.count);
      int64_t d = 0;
      if (end - begin == kDecodeKeys) {
        d = size.headDimV / panel * panel;
        const KeysAhead ahead(values, next, begin, kDecodeKeys);
        if (MR == 1 && strips.perHead == 1) {
          accumulateGroup<MR, kDim, 1>(strips, values, begin, ahead, d);
        } else {
          accumulateGroup<MR, kDim, 0>(strips, values, begin, ahead, d);
        }
      }
      for (int64_t n = 0; d < size.headDimV && n < strips.count; n++) {
        accumulateRows<MR, decodeVectors<MR>>(d, begin, end, strips.scoresOf(n), values.at(begin, n / strips.perHead), strips.o + n * MR * headDimVPad);
      }
    }
  }

  // P for the backward pass, of row r of a strip. Its keys are in one block: there are no more than kDecodeMinBlockN.
  template <int MR>
  void saveRow(const Sequence& s, int64_t i, int64_t h, Range keys, const DecodeStrip<MR>& state, int64_t r, const float* scores) const {
    constexpr int64_t kKeys = DecodeStrip<MR>::kKeys;
    if (keys.empty()) keys = {0, 0};
    float p[kDecodeMinBlockN];
    for (int64_t j = 0; j < keys.end - keys.begin; j += kKeys) memcpy(p + j, scores + j / kKeys * kLanes + r * kKeys, size_t(kKeys) * 4);
    output.saveRows(s, h, {i, i + 1}, keys, splat(state.rowMax[r * kKeys]), splat(state.sumOfRow(int(r))), p, 0);
  }

  // One task: rows `rows` of key heads `heads`, and one of nSplits parts of the keys that they see.
  template <int MR>
  void rowBlock(const Sequence& s, Range heads, Range rows, int64_t split, char* scratch) const {
    constexpr int kKeys = DecodeStrip<MR>::kKeys;
    const Schedule& schedule = s.schedule;
    const int64_t nHeads = heads.end - heads.begin;
    const DecodeStrips<MR> strips(scratch, ceilDiv(rows.end - rows.begin, MR), nHeads, headDimPad, headDimVPad, blockN());
    for (int64_t hk = heads.begin; hk < heads.end; hk++) loadRows<MR>(s, hk, rows, strips, (hk - heads.begin) * strips.perHead);

    const Range visited = schedule.visitedKeys(0, schedule.seqlenQ);
    const Range cut = splitKeys(visited, blockN(), split, nSplits);
    // Blocks begin at multiples of kKeys, so that the tile behind the last one reaches no key of another block.
    const Range part = {maxOf(cut.begin, visited.begin / kDimPad * kDimPad), minOf(cut.end, visited.end)};
    // 2. the next block of keys: whatever is outside the band of all rows has been left out
    const auto blockAt = [&](int64_t begin) { return Range{begin, minOf((begin / blockN() + 1) * blockN(), part.end)}; };
    const auto stream = [&](const float* x, const HeadStrides& strides, int64_t dim, Range block) {
      return KeyStream(x + strides.at(s.b, s.offsetK + block.begin, heads.begin), strides, dim, nHeads, maxOf(0, block.end - block.begin));
    };
    for (Range block = blockAt(part.begin), after; block.begin < part.end; block = after) {
      after = blockAt(block.end);
      const bool full = (block.end - block.begin) % kKeys == 0 && schedule.full(0, schedule.seqlenQ, block.begin, block.end);
      const KeyStream keys = stream(k, kStrides, size.headDim, block), values = stream(v, vStrides, size.headDimV, block);
      // 3. scores = q·kᵀ, ALiBi and bias, 4. the mask and the maxima
      forKnownDim(size.headDim, [&](auto dim) { scoreBlock<MR, dim.value>(s, keys, values, block.begin, full, strips); });
      // 4. softmax
      for (int64_t n = 0; n < strips.count; n++) softmaxStrip<MR>(padTo(keys.count, kKeys), strips.states[n], strips.scoresOf(n), strips.o + n * MR * headDimVPad);
      // 5. O += P·v
      const KeyStream nextKeys = stream(k, kStrides, size.headDim, after);
      forKnownDim(size.headDimV, [&](auto dim) { accumulateBlock<MR, dim.value>(values, nextKeys, strips); });
    }
    // 6. divide by the row sums once, and write O and lse
    for (int64_t hk = heads.begin; hk < heads.end; hk++) {
      const int64_t first = (hk - heads.begin) * strips.perHead;
      for (int64_t r = 0; r < rows.end - rows.begin; r++) {
        const int64_t row = rows.begin + r;
        const DecodeStrip<MR>& state = strips.states[first + r / MR];
        if (probabilities) saveRow<MR>(s, queryOf(s, row), headOf(s, hk, row), part, state, r % MR, strips.scoresOf(first + r / MR));
        output.write(s.rowQ + queryOf(s, row), 1, headOf(s, hk, row), split, splat(state.rowMax[r % MR * kKeys]), splat(state.sumOfRow(int(r % MR))),
                     strips.o + (first * MR + r) * headDimVPad);
      }
    }
  }
};

inline void attention_decode(Reader& args, Context& ctx) {
  const AttentionDecode attention(args);
  const AttentionSizes& size = attention.size;
  if (size.batchSize * size.seqlenQ == 0) return;
  const int64_t headsPerTask = attention.headsPerTask(), headBlocks = ceilDiv(size.nHeadsK, headsPerTask);
  const int64_t rowsPerTask = attention.rowsPerTask(), rowBlocks = ceilDiv(attention.rowsPerKeyHead(), rowsPerTask);
  const int64_t nSplits = attention.nSplits;
  parallelFor(ctx.pool, size.batchSize * headBlocks * rowBlocks * nSplits, [&](int64_t task, int worker) {
    const int64_t split = task % nSplits, rowBlock = task / nSplits % rowBlocks, headBlock = task / nSplits / rowBlocks % headBlocks;
    const int64_t b = task / nSplits / rowBlocks / headBlocks;
    const Range heads = {headBlock * headsPerTask, minOf(size.nHeadsK, (headBlock + 1) * headsPerTask)};
    const Sequence s = size.sequence(b);
    const Range rows = {rowBlock * rowsPerTask, minOf(size.groupSize() * s.schedule.seqlenQ, (rowBlock + 1) * rowsPerTask)};
    if (rows.empty()) return;
    char* scratch = ctx.scratch(worker);
    if (rowsPerTask == 1) {
      attention.rowBlock<1>(s, heads, rows, split, scratch);
    } else if (rowsPerTask == 2) {
      attention.rowBlock<2>(s, heads, rows, split, scratch);
    } else {
      attention.rowBlock<4>(s, heads, rows, split, scratch);
    }
  });
  attention.output.mergeSplits(ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
