// The sequences of an attention problem: a batch of equal lengths, or variable lengths in a row as cuSeqlens says. Everything that differs from one sequence to
// the next is asked for here. Mirrors packages/tensor/src/check/sequences.ts.
#pragma once
#include "engine.h"
#include "schedule-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// One sequence: where its rows lie, and which pairs its band lets through.
struct Sequence {
  int64_t b;
  int64_t rowQ, rowK;        // its first rows among those of the whole batch: contiguous results are indexed by them
  int64_t offsetQ, offsetK;  // the same where the batch stride does not already lead there: 0 with equal lengths
  int64_t shift;             // seqlenK − seqlenQ: query i is aligned with key i + shift
  Schedule schedule;
};

struct HeadStrides {
  int64_t batch, seq, head;  // in floats; the head dimension is contiguous

  explicit HeadStrides(Reader& args) : batch(args.i64()), seq(args.i64()), head(args.i64()) {}
  int64_t at(int64_t b, int64_t row, int64_t h) const { return b * batch + row * seq + h * head; }
};

// Blocks of blockSize rows, numbered over all sequences: those of sequence b follow first(b). With cuSeqlens a number may be skipped between two sequences, so
// that first(b) needs no sum over the sequences before.
struct RowBlocks {
  int64_t blockSize, batchSize, seqlen;
  const int32_t* cuSeqlens;

  int64_t first(int64_t b) const { return cuSeqlens ? cuSeqlens[b] / blockSize + b : b * ceilDiv(seqlen, blockSize); }
  int64_t count() const { return first(batchSize); }
  // The sequence whose numbers block lies among. count() > block.
  int64_t sequenceOf(int64_t block) const {
    if (!cuSeqlens) return block / ceilDiv(seqlen, blockSize);
    int64_t low = 0, high = batchSize;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first(middle) <= block ? low : high) = middle;
    }
    return low;
  }
};

struct AttentionSizes {
  int64_t batchSize, seqlenQ, seqlenK;  // with cuSeqlens the longest lengths
  int64_t totalQ, totalK;               // rows of the whole batch
  int64_t nHeads, nHeadsK, headDim, headDimV;
  const int32_t *cuSeqlensQ, *cuSeqlensK;  // [B + 1], or null: equal lengths
  int64_t windowLeft, windowRight;         // kFar: unlimited
  bool causalTopLeft;

  explicit AttentionSizes(Reader& args) {
    batchSize = args.i64(), seqlenQ = args.i64(), seqlenK = args.i64(), totalQ = args.i64(), totalK = args.i64();
    nHeads = args.i64(), nHeadsK = args.i64(), headDim = args.i64(), headDimV = args.i64();
    cuSeqlensQ = args.ptr<int32_t>(), cuSeqlensK = args.ptr<int32_t>();
    windowLeft = args.i64(), windowRight = args.i64(), causalTopLeft = args.flag();
  }
  int64_t groupSize() const { return nHeads / nHeadsK; }
  bool packed() const { return cuSeqlensQ != nullptr; }

  Sequence sequence(int64_t b) const {
    Sequence s;
    s.b = b;
    s.rowQ = packed() ? cuSeqlensQ[b] : b * seqlenQ;
    s.rowK = packed() ? cuSeqlensK[b] : b * seqlenK;
    s.offsetQ = packed() ? s.rowQ : 0;
    s.offsetK = packed() ? s.rowK : 0;
    const int64_t lengthQ = packed() ? cuSeqlensQ[b + 1] - s.rowQ : seqlenQ, lengthK = packed() ? cuSeqlensK[b + 1] - s.rowK : seqlenK;
    s.shift = lengthK - lengthQ;
    const int64_t diagonalMax = s.shift + windowRight;
    s.schedule = Schedule(lengthQ, lengthK, s.shift - windowLeft, causalTopLeft ? minOf(0, diagonalMax) : diagonalMax);
    return s;
  }

  RowBlocks queryBlocks(int64_t blockM) const { return {blockM, batchSize, seqlenQ, cuSeqlensQ}; }
  RowBlocks keyBlocks(int64_t blockN) const { return {blockN, batchSize, seqlenK, cuSeqlensK}; }

  // Where query 0 of head h lies in a contiguous [B, Hq, Sq], or [Hq, totalQ]: lse, delta.
  int64_t headRows(const Sequence& s, int64_t h) const { return packed() ? h * totalQ + s.rowQ : s.rowQ * nHeads + h * seqlenQ; }
};

}  // namespace tilegrad::TILEGRAD_TARGET
