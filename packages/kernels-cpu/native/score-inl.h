// What a score q·k goes through on its way to softmax: scale and softcap, ALiBi and bias, and what hides it. Forward, backward and inspection kernels have it
// from here and nowhere else. Scores are in units of log2(e), where nothing else is said. Mirrors core-math/src/score.ts and mask.ts.
#pragma once
#include "attention-sequences-inl.h"
#include "block-mask-inl.h"
#include "dropout-inl.h"
#include "mask-inl.h"
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {

// What is added to the scores of one row, in units of log2(e) or in others.
struct ScoreAddend {
  float unit;         // times the score in natural units
  float slope;        // −ALiBi slope, in the same units
  int32_t aligned;    // the key at distance 0
  const float* bias;  // of key 0, or null
  bool biasPerKey;    // else one for all keys
  int64_t seqlenK;

  // For keys [key, key + kLanes); 0 or anything finite past the last one.
  TILEGRAD_INLINE VF at(int64_t key) const {
    const VI distance = iota() + splatInt(int32_t(key) - aligned);
    const VF alibi = abs(__builtin_convertvector(distance, VF)) * splat(slope);
    if (!bias) return alibi;
    return mulAdd(biasAt(key), splat(unit), alibi);
  }

 private:
  TILEGRAD_INLINE VF biasAt(int64_t key) const {
    if (!biasPerKey) return splat(*bias);
    if (key + kLanes <= seqlenK) return load(bias + key);
    return key < seqlenK ? loadPartial(bias + key, seqlenK - key) : VF{};
  }
};

struct ScoreOptions {
  float softmaxScale, softcap;  // softcap 0: off
  const float* alibiSlopes;     // null: off
  int64_t alibiStrides[2];      // of [B, Hq]
  const float* bias;            // null: off
  int64_t biasStrides[4];       // of [B, Hq, Sq, Sk]; that of the keys is 0 or 1
  BlockMask blockMask;
  Dropout dropout;

  // Arguments: softmaxScale, softcap; alibiSlopes, its strides of [B, Hq]; bias, its strides of [B, Hq, Sq, Sk]; those of BlockMask; those of Dropout.
  explicit ScoreOptions(Reader& args)
      : softmaxScale(args.f32()), softcap(args.f32()), alibiSlopes(args.ptr()), alibiStrides{args.i64(), args.i64()}, bias(args.ptr()),
        biasStrides{args.i64(), args.i64(), args.i64(), args.i64()}, blockMask(args), dropout(args) {}

  // With a softcap c scores are c·tanh(q·k·scale/c), so the product is brought to units of c and the rest comes after tanh.
  float scoreUnit() const { return softcap > 0 ? 1.0f / softcap : kLog2e; }
  float afterTanh() const { return softcap * kLog2e; }

  bool hasAddend() const { return alibiSlopes || bias; }
  ScoreAddend addend(const Sequence& s, int64_t h, int64_t i, float unit = kLog2e) const {
    ScoreAddend a;
    a.unit = unit;
    a.slope = alibiSlopes ? -unit * alibiSlopes[s.b * alibiStrides[0] + h * alibiStrides[1]] : 0.0f;
    a.aligned = int32_t(i + s.shift);
    a.bias = bias ? bias + s.b * biasStrides[0] + h * biasStrides[1] + i * biasStrides[2] : nullptr;
    a.biasPerKey = biasStrides[3] != 0;
    a.seqlenK = s.schedule.seqlenK;
    return a;
  }
  // Fetches the bias of rows [rowBegin, rowEnd) and kNR keys, which will be wanted after their products: rows of a bias are too far apart for the hardware to foresee.
  TILEGRAD_INLINE void prefetchBias(const Sequence& s, int64_t h, int64_t rowBegin, int64_t rowEnd, int64_t key) const {
    if (!biasStrides[2] || !biasStrides[3]) return;
    const float* from = bias + s.b * biasStrides[0] + h * biasStrides[1] + key;
    for (int64_t i = rowBegin; i < rowEnd; i++)
      for (int64_t j = 0; j < kNR; j += kLineFloats) __builtin_prefetch(from + i * biasStrides[2] + j, 0, 3);
  }
  // row[0 … count) are products in units of the softcap.
  void softcapRow(int64_t count, float* row) const {
    for (int64_t j = 0; j < count; j += kLanes) store(row + j, tanh(load(row + j)) * splat(afterTanh()));
  }
  // row[0 … count) are scores of query i for keys keyBegin on.
  void addRow(const Sequence& s, int64_t h, int64_t i, int64_t keyBegin, int64_t count, float* row, float unit = kLog2e) const {
    const ScoreAddend add = addend(s, h, i, unit);
    for (int64_t j = 0; j < count; j += kLanes) store(row + j, load(row + j) + add.at(keyBegin + j));
  }

  // Whether every row of [rowBegin, rowEnd), which lie in one tile row of the block mask, sees every key of [keyBegin, keyEnd).
  bool full(const Sequence& s, int64_t h, int64_t rowBegin, int64_t rowEnd, int64_t keyBegin, int64_t keyEnd) const {
    return s.schedule.full(rowBegin, rowEnd, keyBegin, keyEnd) && (!blockMask.given || blockMask.full(s.b, h, rowBegin, keyBegin, keyEnd));
  }
  // Hides what query i may not see of a row of keys [keyBegin, keyEnd).
  void maskRow(const Sequence& s, int64_t h, int64_t i, int64_t keyBegin, int64_t keyEnd, float* row, float hidden) const {
    if (blockMask.given) blockMask.maskRow(s.b, h, i, keyBegin, keyEnd, row, hidden);
    TILEGRAD_TARGET::maskRow(s.schedule, i, keyBegin, keyEnd, row, hidden);
  }

  // First key ≥ key that rows [rowBegin, rowEnd) visit, of one tile row of the block mask; ≥ seqlenK if there is none.
  int64_t nextKey(const Sequence& s, int64_t h, int64_t rowBegin, int64_t rowEnd, int64_t key) const {
    const Range visited = s.schedule.visitedKeys(rowBegin, rowEnd);
    int64_t next = maxOf(key, visited.begin);
    if (blockMask.given && next < visited.end) next = blockMask.nextKey(s.b, h, rowBegin, next);
    return next < visited.end ? next : kFar;
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
