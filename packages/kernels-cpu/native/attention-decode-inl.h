// Exact attention, forward, for a few queries per head: a decoding step, a few speculated tokens. The algorithm is attention-forward's, step by step,
// with other tiles; it mirrors core-math/src/attention-forward.ts as that does, and the merge of splits is FlashDecoding's.
//
// Few rows read each key, so time is what K and V take from memory: they are read once, in place, by all rows of the query heads that share a key head
// (packing would write and read them once more), and in the order in which they lie. A task owns all key heads of one part of the keys, as far as their
// rows are at most kDecodeRows: heads that lie side by side are then one stream. Head by head, a row would be a few cache lines and a gap, too short for the
// hardware to foresee, and what it fetches around a row belongs to another task. Arithmetic between the loads hides the stream's next lines from the hardware
// too: while a block of keys is worked on, head by head, the next one is prefetched line by line.
// FLOPs: 2·Sq·Sk·(D + Dv) per head. Bytes: K and V once. Of the options it has all but dropout and block masks (attention-workspace.ts).
// Workspace (floats): partial results nSplits·B·Hq·Sq·(DvPad + 2) if nSplits > 1.
#pragma once
#include "attention-output-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Vectors of a row of V that a pass takes for MR rows of P.
template <int MR>
constexpr int decodeVectors = kDecodeAccumulators / MR < 8 ? kDecodeAccumulators / MR : 8;

// Lane i: the sum of the lanes of v[i]. Adds halves and interleaves, so that kLanes sums cost two shuffles and one addition each.
template <int n = kLanes>
TILEGRAD_INLINE VF sumEach(VF* v) {
#pragma GCC unroll 8
  for (int i = 0; i < n / 2; i++) v[i] = interleaveLow(v[i], v[i + n / 2]) + interleaveHigh(v[i], v[i + n / 2]);
  if constexpr (n > 2) return sumEach<n / 2>(v);
  return v[0];
}

// A strip of MR rows: lane r·kKeys + j of a vector of scores is row r and key j of kKeys neighbours.
template <int MR>
struct DecodeStrip {
  static constexpr int kKeys = kLanes / MR;
  VF rowMax;                    // in base-2 units, the same in all lanes of a row
  VF rowSum;                    // spread over the lanes of its row until the end
  VI visibleBegin, visibleEnd;  // keys that the lane's row sees
  VI aligned;                   // its key at distance 0, and
  VF slope;                     // −its ALiBi slope, in units of log2(e)
  const float* bias[MR];        // of row r and key 0, or null
  float rescale[MR];            // multiplies what row r has accumulated, from the last `advance`

  // The maximum over the lanes of each row, in all of them.
  static VF rowMaxima(VF v) { return maxAll<kKeys / 2>(v); }

  // Takes in the maxima of a block; returns what is subtracted from its scores. As OnlineSoftmax::advance.
  VF advance(VF blockMax) {
    const VF newMax = max(rowMax, rowMaxima(blockMax));
    const VF shift = select((VI)(newMax == splat(-__builtin_inff())), splat(0.0f), newMax);
    const VF factor = exp2(rowMax - shift);
    rowMax = newMax;
    rowSum *= factor;
    for (int r = 0; r < MR; r++) rescale[r] = factor[r * kKeys];
    return shift;
  }

  float sumOfRow(int r) const {
    float sum = 0;
    for (int j = 0; j < kKeys; j++) sum += rowSum[r * kKeys + j];
    return sum;
  }
};

// Prefetches a block of K or V, one row of one head at a time, in the order of addresses where heads lie side by side. `every`: how many calls of next() make
// one row, so that the rows are spread over all strips that work meanwhile and memory never waits.
struct PrefetchRows {
  const float* row;
  HeadStrides strides;
  int64_t dim, nHeads, rowsLeft, every, head = 0, calls = 0;

  PrefetchRows(const float* row, HeadStrides strides, int64_t dim, int64_t nHeads, int64_t rows, int64_t every)
      : row(row), strides(strides), dim(dim), nHeads(nHeads), rowsLeft(rows), every(every) {}
  TILEGRAD_INLINE void next() {
    if (++calls < every || rowsLeft <= 0) return;
    calls = 0;
    const float* from = row + head * strides.head;
    for (int64_t d = 0; d < dim; d += kLineFloats) __builtin_prefetch(from + d, 0, 3);
    if (++head == nHeads) {
      head = 0;
      row += strides.seq;
      rowsLeft--;
    }
  }
};

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
    const int64_t keys = kDecodeBlockFloats / (headsPerTask() * (size.headDim + size.headDimV)) / kDimPad * kDimPad;
    return maxOf(kDimPad, minOf(keys, kDecodeMaxBlockN));
  }

  // kKeys keys against MR rows: every K vector is loaded once for all rows.
  template <int MR>
  TILEGRAD_INLINE VF scoreTile(const float* qRows, const float* const* keys) const {
    constexpr int kKeys = kLanes / MR;
    VF acc[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; i++) acc[i] = VF{};
    forVectors(0, size.headDim, [&](int64_t d, auto lanes) {
      VF kv[kKeys];
#pragma GCC unroll 16
      for (int j = 0; j < kKeys; j++) kv[j] = lanes.load(keys[j] + d);
#pragma GCC unroll 4
      for (int r = 0; r < MR; r++) {
        const VF qv = load(qRows + r * headDimPad + d);  // zeros beyond D
#pragma GCC unroll 16
        for (int j = 0; j < kKeys; j++) acc[r * kKeys + j] = mulAdd(qv, kv[j], acc[r * kKeys + j]);
      }
    });
    const VF score = sumEach(acc);
    return options.softcap > 0 ? tanh(score) * splat(options.afterTanh()) : score;
  }

  // The bias of the strip's rows and kKeys keys from `key` on, laid out as their scores; that of the last key past the end.
  template <int MR>
  TILEGRAD_INLINE VF biasTile(const DecodeStrip<MR>& state, int64_t key, int64_t seqlenK) const {
    constexpr int kKeys = kLanes / MR;
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

  // Columns [d, d + NV vectors) of O = O·rescale + P·v, the products added up before they meet O (multiplyStrip says why).
  template <int MR, int NV, class Lanes>
  TILEGRAD_INLINE void accumulate(int64_t count, const float* p, const float* vRow, const float (&rescale)[MR], float* o, Lanes lanes,
                                  PrefetchRows& ahead) const {
    constexpr int64_t kKeys = kLanes / MR;
    VF acc[MR][NV];
    clear(acc);
    for (int64_t j = 0; j < count; j++, vRow += vStrides.seq) {
      ahead.next();
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
        store(to, mulAdd(load(to), splat(rescale[r]), acc[r][v]));
      }
  }

  // Columns [d, Dv) in panels of NV vectors, then of half as many, down to one that may be partial.
  template <int MR, int NV>
  TILEGRAD_INLINE void accumulateRows(int64_t d, int64_t count, const float* p, const float* vRows, const float (&rescale)[MR], float* o,
                                      PrefetchRows& ahead) const {
    for (; d + NV * kLanes <= size.headDimV; d += NV * kLanes) accumulate<MR, NV>(count, p, vRows + d, rescale, o + d, WholeVector{}, ahead);
    if constexpr (NV > 1) {
      accumulateRows<MR, NV / 2>(d, count, p, vRows, rescale, o, ahead);
    } else if (d < size.headDimV) {
      accumulate<MR, 1>(count, p, vRows + d, rescale, o + d, PartialVector{size.headDimV - d}, ahead);
    }
  }

  // One strip against a block of keys of one head.
  template <int MR>
  void strip(const Sequence& s, const float* qRows, const float* kRows, const float* vRows, Range block, bool full, float* scores, DecodeStrip<MR>& state, float* o,
             PrefetchRows& kAhead, PrefetchRows& vAhead) const {
    constexpr int kKeys = kLanes / MR;
    const int64_t count = block.end - block.begin;
    // 3. scores = q·kᵀ, ALiBi and bias, 4. the mask and the maxima
    VF blockMax = splat(-__builtin_inff());
    const VI lane = iota() & splatInt(kKeys - 1);
    for (int64_t j = 0; j < count; j += kKeys) {
      // Keys past the end repeat the last one and are masked.
      const float* keys[kKeys];
      for (int i = 0; i < kKeys; i++) keys[i] = kRows + minOf(j + i, count - 1) * kStrides.seq;
      for (int i = 0; i < kKeys; i++) kAhead.next();
      VF score = scoreTile<MR>(qRows, keys);
      const VI key = lane + splatInt(int32_t(block.begin + j));
      if (options.alibiSlopes) score = mulAdd(abs(__builtin_convertvector(key - state.aligned, VF)), state.slope, score);
      if (options.bias) score = mulAdd(biasTile(state, block.begin + j, s.schedule.seqlenK), splat(kLog2e), score);
      if (!full) {
        score = select((VI)(key >= state.visibleBegin) & (VI)(key < state.visibleEnd), score, splat(-__builtin_inff()));
      }
      store(scores + j * MR, score);
      blockMax = max(blockMax, score);
    }
    // 4. softmax
    const VF shift = state.advance(blockMax);
    VF sum = {};
    for (int64_t j = 0; j < count; j += kKeys) {
      const VF p = exp2(load(scores + j * MR) - shift);
      store(scores + j * MR, p);
      sum += p;
    }
    state.rowSum += sum;
    // 5. O += P·v, rescaled where a row's maximum has grown
    accumulateRows<MR, decodeVectors<MR>>(0, count, scores, vRows, state.rescale, o, vAhead);
  }

  // The rows of one key head in a task's scratch, in strips of MR.
  template <int MR>
  struct Rows {
    DecodeStrip<MR>* states;
    float *q, *o;
  };

  // 1. load the Q rows, scaled; rows past the end are zero and see what the last one sees
  template <int MR>
  void loadRows(const Sequence& s, int64_t hk, Range rows, const Rows<MR>& to) const {
    constexpr int kKeys = kLanes / MR;
    const int64_t rowsPad = padTo(rows.end - rows.begin, MR);
    memset(to.q, 0, size_t(rowsPad * headDimPad) * 4);
    memset(to.o, 0, size_t(rowsPad * headDimVPad) * 4);
    for (int64_t r = 0; r < rowsPad; r++) {
      const int64_t row = minOf(rows.begin + r, rows.end - 1), i = queryOf(s, row), h = headOf(s, hk, row);
      if (rows.begin + r < rows.end) {
        packRows(q + qStrides.at(s.b, s.offsetQ + i, h), 0, 1, 1, size.headDim, headDimPad,
                 options.softmaxScale * options.scoreUnit(), to.q + r * headDimPad);
      }
      DecodeStrip<MR>& state = to.states[r / MR];
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

  // One task: rows `rows` of key heads `heads`, and one of nSplits parts of the keys that they see.
  template <int MR>
  void rowBlock(const Sequence& s, Range heads, Range rows, int64_t split, char* scratch) const {
    constexpr int kKeys = kLanes / MR;
    const Schedule& schedule = s.schedule;
    const int64_t strips = ceilDiv(rows.end - rows.begin, MR), nHeads = heads.end - heads.begin;
    auto* states = reinterpret_cast<DecodeStrip<MR>*>(scratch);
    float* qRows = reinterpret_cast<float*>(states + nHeads * strips);
    float* oRows = qRows + nHeads * strips * MR * headDimPad;
    float* scores = oRows + nHeads * strips * MR * headDimVPad;
    const auto rowsOf = [&](int64_t hk) {
      const int64_t at = (hk - heads.begin) * strips;
      return Rows<MR>{states + at, qRows + at * MR * headDimPad, oRows + at * MR * headDimVPad};
    };
    for (int64_t hk = heads.begin; hk < heads.end; hk++) loadRows<MR>(s, hk, rows, rowsOf(hk));

    const Range visited = schedule.visitedKeys(0, schedule.seqlenQ);
    const Range cut = splitKeys(visited, blockN(), split, nSplits);
    // Blocks begin at multiples of kKeys, so that the tile behind the last one reaches no key of another block.
    const Range part = {maxOf(cut.begin, visited.begin / kDimPad * kDimPad), minOf(cut.end, visited.end)};
    for (Range block = {part.begin, part.begin}; block.begin < part.end; block.begin = block.end) {
      // 2. the next block of keys: whatever is outside the band of all rows has been left out
      block.end = minOf((block.begin / blockN() + 1) * blockN(), part.end);
      const bool full = (block.end - block.begin) % kKeys == 0 && schedule.full(0, schedule.seqlenQ, block.begin, block.end);
      const float* kRows = k + kStrides.at(s.b, s.offsetK + block.begin, 0);
      const float* vRows = v + vStrides.at(s.b, s.offsetK + block.begin, 0);
      const int64_t count = block.end - block.begin, after = minOf(blockN(), part.end - block.end);
      PrefetchRows kAhead(kRows + count * kStrides.seq + heads.begin * kStrides.head, kStrides, size.headDim, nHeads, after, strips);
      PrefetchRows vAhead(vRows + count * vStrides.seq + heads.begin * vStrides.head, vStrides, size.headDimV, nHeads, after, strips * ceilDiv(size.headDimV, decodeVectors<MR> * kLanes));
      for (int64_t hk = heads.begin; hk < heads.end; hk++) {
        const Rows<MR> of = rowsOf(hk);
        for (int64_t n = 0; n < strips; n++) {
          strip<MR>(s, of.q + n * MR * headDimPad, kRows + hk * kStrides.head, vRows + hk * vStrides.head, block, full, scores, of.states[n],
                    of.o + n * MR * headDimVPad, kAhead, vAhead);
        }
      }
    }
    // 6. divide by the row sums once, and write O and lse
    for (int64_t hk = heads.begin; hk < heads.end; hk++) {
      const Rows<MR> of = rowsOf(hk);
      for (int64_t r = 0; r < rows.end - rows.begin; r++) {
        const int64_t row = rows.begin + r;
        const DecodeStrip<MR>& state = of.states[r / MR];
        output.write(s.rowQ + queryOf(s, row), 1, headOf(s, hk, row), split, splat(state.rowMax[r % MR * kKeys]), splat(state.sumOfRow(int(r % MR))),
                     of.o + r * headDimVPad);
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
