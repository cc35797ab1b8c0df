// What a task of attention_decode keeps of its rows, and how it reads K and V.
#pragma once
#include "attention-output-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

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
  VF blockMax;                  // of a block's scores, over the lanes of its row
  VI visibleBegin, visibleEnd;  // keys that the lane's row sees
  VI aligned;                   // its key at distance 0, and
  VF slope;                     // −its ALiBi slope, in units of log2(e)
  const float* bias[MR];        // of row r and key 0, or null
  float rescale[MR];            // multiplies what row r has accumulated, from the last `advance`

  // The maximum over the lanes of each row, in all of them.
  static VF rowMaxima(VF v) { return maxAll<kKeys / 2>(v); }

  // Takes in the maxima of a block; returns what is subtracted from its scores. As OnlineSoftmax::advance.
  VF advance() {
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

// K or V of a block of keys: `count` rows from `rows` on, each of all heads of a task. `distance`: keys between use and prefetch.
struct KeyStream {
  const float* rows;
  HeadStrides strides;
  int64_t dim, nHeads, count, distance;

  KeyStream(const float* rows, HeadStrides strides, int64_t dim, int64_t nHeads, int64_t count)
      : rows(rows), strides(strides), dim(dim), nHeads(nHeads), count(count),
        distance(maxOf(kDecodeKeys, kDecodeAheadFloats / (nHeads * dim) / kDecodeKeys * kDecodeKeys)) {}

  const float* at(int64_t key, int64_t head) const { return rows + key * strides.seq + head * strides.head; }
};

// Where a stream, and after its end the next one, is some way ahead of a key. Heads that lie side by side are asked for in the order of addresses: what
// prefetches on its own, the hardware, follows them then.
struct KeysAhead {
  const float* row;
  int64_t seqStride, headStride, dim;

  // `rows`: how many of a head are asked for at a time.
  KeysAhead(const KeyStream& keys, const KeyStream& next, int64_t key, int64_t rows) {
    const int64_t ahead = key + keys.distance;
    const KeyStream& from = ahead < keys.count ? keys : next;
    row = from.at(ahead < keys.count ? ahead : minOf(ahead - keys.count, next.count), 0);
    dim = from.dim;
    const bool sideBySide = from.strides.head == dim && from.strides.seq == dim * from.nHeads;
    seqStride = sideBySide ? dim : from.strides.seq;
    headStride = sideBySide ? rows * dim : from.strides.head;
  }

  template <int rows, int kDim>
  TILEGRAD_INLINE void prefetchHead() {
    const float* x = row;
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++, x += seqStride) {
#pragma GCC unroll 8
      for (int64_t d = 0; d < (kDim ? kDim : dim); d += kLineFloats) __builtin_prefetch(x + d, 0, 3);
    }
    row += headStride;
  }
};

// A task's scratch: strips of MR rows, those of one key head after those of another.
template <int MR>
struct DecodeStrips {
  int64_t perHead, count, qStride, oStride, scoresOfStrip;
  DecodeStrip<MR>* states;
  VF* products;  // [strip][kLanes], of the keys that are being scored
  float *q, *o, *scores;

  DecodeStrips(char* scratch, int64_t perHead, int64_t nHeads, int64_t headDimPad, int64_t headDimVPad, int64_t blockN)
      : perHead(perHead), count(perHead * nHeads), qStride(headDimPad), oStride(headDimVPad), scoresOfStrip(MR * blockN) {
    states = reinterpret_cast<DecodeStrip<MR>*>(scratch);
    products = reinterpret_cast<VF*>(states + count);
    q = reinterpret_cast<float*>(products + count * kLanes);
    o = q + count * MR * qStride;
    scores = o + count * MR * oStride;
  }
  float* scoresOf(int64_t n) const { return scores + n * scoresOfStrip; }
};

}  // namespace tilegrad::TILEGRAD_TARGET
