// What attention's kernels are called with, and the tile sizes that they share.
#pragma once
#include "score-inl.h"
#include "gemm-pack-inl.h"
#include "micro-kernel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Dimensions are padded with zeros to whole vectors of the widest target, so that inner loops have no tails; keys to 64, which every kNR divides.
// attention-workspace.ts counts with the same two numbers.
constexpr int64_t kDimPad = 16;
constexpr int64_t kKeyPad = 64;
inline int64_t padTo(int64_t n, int64_t multiple) { return ceilDiv(n, multiple) * multiple; }

// Sizes and options, read here and nowhere else (src/kernels/attention-problem.ts writes them).
// Arguments: batchSize, seqlenQ, seqlenK, totalQ, totalK, nHeads, nHeadsK, headDim, headDimV; cuSeqlensQ, cuSeqlensK; windowLeft, windowRight, causalTopLeft;
// those of ScoreOptions.
struct AttentionProblem {
  AttentionSizes size;
  ScoreOptions options;
  int64_t headDimPad, headDimVPad;

  explicit AttentionProblem(Reader& args)
      : size(args), options(args), headDimPad(padTo(size.headDim, kDimPad)), headDimVPad(padTo(size.headDimV, kDimPad)) {}

  // Bytes of Q, K, V and out.
  int64_t bytes() const { return 4 * (size.headDim + size.headDimV) * (size.totalQ * size.nHeads + size.totalK * size.nHeadsK); }
};

// Both forward kernels. Arguments: those of AttentionProblem; q, k, v, then the strides (batch, seq, head) of each; out, lse, probabilities (null: not wanted, else
// at most kBlockN keys), workspace; sink and its stride (null: none); nSplits. out is contiguous [B, Sq, Hq, Dv], lse [B, Hq, Sq], probabilities [B, Hq, Sq, Sk]; with
// cuSeqlens [totalQ, Hq, Dv] and [Hq, totalQ].
struct AttentionForwardProblem : AttentionProblem {
  const float *q, *k, *v;
  HeadStrides qStrides, kStrides, vStrides;
  float *out, *lse, *probabilities, *workspace;
  const float* sink;
  int64_t sinkStride, nSplits;

  explicit AttentionForwardProblem(Reader& args)
      : AttentionProblem(args), q(args.ptr()), k(args.ptr()), v(args.ptr()), qStrides(args), kStrides(args), vStrides(args), out(args.ptr()), lse(args.ptr()),
        probabilities(args.ptr()), workspace(args.ptr()), sink(args.ptr()), sinkStride(args.i64()), nSplits(args.i64()) {}
};

// Rows that will be wanted soon, from L3 into L2. They are too far apart for the hardware to foresee, and a core waits for too few lines at once to load all of a
// block when it is wanted; asked for a few at a time, between register tiles, they come while it computes.
class RowPrefetch {
 public:
  // bytes: of all tensors of the problem. What stays in L2 need not be asked for, and each question takes a cycle or two.
  explicit RowPrefetch(int64_t bytes) : wanted_(bytes > kPrefetchBytes) {}
  void add(const float* row, int64_t stride, int64_t dim, int64_t count) {
    if (wanted_ && count > 0) queue_[end_++] = {row, stride, dim, count};
  }
  // Spreads all rows over so many calls of next().
  void spread(int64_t tiles) {
    int64_t rows = 0;
    for (int i = 0; i < end_; i++) rows += queue_[i].count;
    rowsPerTile_ = ceilDiv(rows, maxOf(tiles, 1));
  }
  TILEGRAD_INLINE void next() {
    if (first_ < end_) fetch();
  }

 private:
  struct Rows {
    const float* row;
    int64_t stride, dim, count;
  };
  Rows queue_[8];
  bool wanted_;
  int first_ = 0, end_ = 0;
  int64_t rowsPerTile_ = 1;

  __attribute__((noinline)) void fetch() {
    for (int64_t n = 0; n < rowsPerTile_ && first_ < end_; n++) {
      Rows& rows = queue_[first_];
      for (int64_t d = 0; d < rows.dim; d += kLineFloats) __builtin_prefetch(rows.row + d, 0, 2);
      rows.row += rows.stride;
      if (--rows.count == 0) first_++;
    }
  }
};

// rows × dim floats with row stride `stride` → contiguous rows of dimPad floats, times `factor`; rows up to rowsPad are zero.
inline void packRows(const float* from, int64_t stride, int64_t rows, int64_t rowsPad, int64_t dim, int64_t dimPad, float factor, float* to) {
  const VF f = splat(factor);
  for (int64_t r = 0; r < rows; r++) {
    const float* x = from + r * stride;
    float* y = to + r * dimPad;
    int64_t d = 0;
    for (; d + kLanes <= dim; d += kLanes) store(y + d, load(x + d) * f);
    if (d < dim) {
      store(y + d, loadPartial(x + d, dim - d) * f);
      d += kLanes;
    }
    for (; d < dimPad; d += kLanes) store(y + d, VF{});
  }
  memset(to + rows * dimPad, 0, size_t(rowsPad - rows) * size_t(dimPad) * 4);
}

// Q and dout tiles keep one row stride for every head dimension, so that it is a displacement in the register tile. 17 cache lines: an odd number spreads rows over all cache sets.
constexpr int64_t kTileStride = 272;

// Rows times `factor` into a tile of stride toStride, zero up to dimPad and up to rowsPad.
template <int64_t toStride = kTileStride>
inline void loadTileRows(const float* from, int64_t stride, int64_t rows, int64_t rowsPad, int64_t dim, int64_t dimPad, float factor, float* to) {
  const VF f = splat(factor);
  for (int64_t r = 0; r < rowsPad; r++) {
    float* y = to + r * toStride;
    int64_t d = 0;
    if (r < rows) {
      const float* x = from + r * stride;
      for (; d + kLanes <= dim; d += kLanes) store(y + d, load(x + d) * f);
      if (d < dim) {
        store(y + d, loadPartial(x + d, dim - d) * f);
        d += kLanes;
      }
    }
    for (; d < dimPad; d += kLanes) store(y + d, VF{});
  }
}

// rows × dim → panels of `width` rows, each panel [dim][width]: what multiplyAdd wants as b (width kNR) or as a (width kMR, stepA = width). Rows up to
// rowsPad (a multiple of width) are zero. Where width is less than a vector, up to kLanes − 1 floats behind the last panel are overwritten.
template <int width>
inline void packPanels(const float* from, int64_t stride, int64_t rows, int64_t rowsPad, int64_t dim, float* to) {
  for (int64_t panel = 0; panel < rowsPad; panel += width) {
    packTranspose(to + panel * dim, from + panel * stride, stride, dim, width, minOf(width, rows - panel), rows - panel - width);
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
