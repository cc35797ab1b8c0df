// Sizes, strides and tile sizes that attention's forward and backward kernels share.
#pragma once
#include "engine.h"
#include "gemm-pack-inl.h"
#include "micro-kernel-inl.h"
#include "schedule-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

struct HeadStrides {
  int64_t batch, seq, head;  // in floats; the head dimension is contiguous
};

inline HeadStrides readStrides(Reader& args) {
  HeadStrides s;
  s.batch = args.i64();
  s.seq = args.i64();
  s.head = args.i64();
  return s;
}

struct AttentionSizes {
  int64_t batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV;

  void read(Reader& args) {
    batchSize = args.i64();
    seqlenQ = args.i64();
    seqlenK = args.i64();
    nHeads = args.i64();
    nHeadsK = args.i64();
    headDim = args.i64();
    headDimV = args.i64();
  }
  int64_t groupSize() const { return nHeads / nHeadsK; }
};

struct ScoreOptions {
  float softmaxScale, softcap;  // softcap 0: off
  int64_t diagonalMin, diagonalMax;

  void read(Reader& args) {
    softmaxScale = args.f32();
    softcap = args.f32();
    diagonalMin = args.i64();
    diagonalMax = args.i64();
  }
  // Scores are wanted in units of log2(e). With a softcap c they are c·tanh(q·k·scale/c), so the product is brought to units of c and the rest comes after tanh.
  float scoreUnit() const { return softcap > 0 ? 1.0f / softcap : kLog2e; }
  float afterTanh() const { return softcap * kLog2e; }
};

// Dimensions are padded with zeros to whole vectors of the widest target, so that inner loops have no tails; keys to 64, which every kNR divides.
// attention-workspace.ts counts with the same two numbers.
constexpr int64_t kDimPad = 16;
constexpr int64_t kKeyPad = 64;
inline int64_t padTo(int64_t n, int64_t multiple) { return ceilDiv(n, multiple) * multiple; }

// What both forward kernels are called with, read here and nowhere else.
// Arguments: q, k, v, out, lse, workspace; batchSize, seqlenQ, seqlenK, nHeads, nHeadsK, headDim, headDimV; strides (batch, seq, head) of q, k, v; softmaxScale,
// softcap, diagonalMin, diagonalMax; nSplits. out is contiguous [B, Sq, Hq, Dv], lse [B, Hq, Sq].
struct AttentionForwardProblem {
  const float *q, *k, *v;
  float *out, *lse, *workspace;
  AttentionSizes size;
  HeadStrides qStrides, kStrides, vStrides;
  ScoreOptions options;
  int64_t nSplits;

  Schedule schedule;
  int64_t headDimPad, headDimVPad;

  explicit AttentionForwardProblem(Reader& args) {
    q = args.ptr(), k = args.ptr(), v = args.ptr(), out = args.ptr(), lse = args.ptr(), workspace = args.ptr();
    size.read(args);
    qStrides = readStrides(args), kStrides = readStrides(args), vStrides = readStrides(args);
    options.read(args);
    nSplits = args.i64();
    schedule = Schedule(size.seqlenQ, size.seqlenK, options.diagonalMin, options.diagonalMax);
    headDimPad = padTo(size.headDim, kDimPad);
    headDimVPad = padTo(size.headDimV, kDimPad);
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

// rows × dim → panels of `width` rows, each panel [dim][width]: what multiplyAdd wants as b (width kNR) or as a (width kMR, stepA = width). Rows up to
// rowsPad (a multiple of width) are zero. Where width is less than a vector, up to kLanes − 1 floats behind the last panel are overwritten.
template <int width>
inline void packPanels(const float* from, int64_t stride, int64_t rows, int64_t rowsPad, int64_t dim, float* to) {
  for (int64_t panel = 0; panel < rowsPad; panel += width) packTranspose(to + panel * dim, from + panel * stride, stride, dim, width, minOf(width, rows - panel));
}

}  // namespace tilegrad::TILEGRAD_TARGET
