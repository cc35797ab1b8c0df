// GEMM whose result has a few rows, or a few columns: decoding a token, projections to a few outputs. For one row 2·k·n flops take 4·k·n bytes of the large
// operand: it runs at memory speed, so that operand is read once, in place, and never packed.
//
// Both cases are out[r, j] = Σ_k small[r, k]·large[k, j]: the few columns of c are the rows of its transpose.
#pragma once
#include "gemm-problem-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kThinBlockK = 8192;      // small: up to 12 × 8192 floats of scratch
constexpr int64_t kThinBlockColumns = 2048;  // results in progress: for 4 rows 32 KiB, most of L1

static_assert(kGemmThinDot * (kThinBlockK + kThinBlockColumns) * 4 <= int64_t(kScratchBytes), "both fit a worker's scratch");

// out[r][j] += Σ_k small[r][k]·large[k·stride + j]: rows of `large` are contiguous in j, four of them at a time share each load and store of out.
template <int R>
void thinAccumulate(int64_t k, const float* small, const float* large, int64_t stride, int64_t columns, float* out) {
  int64_t kk = 0;
  for (; kk + 4 <= k; kk += 4) {
    const float* l = large + kk * stride;
    VF s[R][4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) s[r][i] = splat(small[r * kThinBlockK + kk + i]);
    forVectors(0, columns, [&](int64_t j, auto lanes) {
      const VF l0 = lanes.load(l + j), l1 = lanes.load(l + stride + j), l2 = lanes.load(l + 2 * stride + j), l3 = lanes.load(l + 3 * stride + j);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        float* p = out + r * kThinBlockColumns + j;
        store(p, mulAdd(s[r][3], l3, mulAdd(s[r][2], l2, mulAdd(s[r][1], l1, mulAdd(s[r][0], l0, load(p))))));
      }
    });
  }
  for (; kk < k; kk++) {
    forVectors(0, columns, [&](int64_t j, auto lanes) {
      const VF l0 = lanes.load(large + kk * stride + j);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        float* p = out + r * kThinBlockColumns + j;
        store(p, mulAdd(splat(small[r * kThinBlockK + kk]), l0, load(p)));
      }
    });
  }
}

// out[r][j] += Σ_k small[r][k]·large[j·stride + k]: dot products, four columns at a time so that R × 4 chains hide the FMA's latency.
template <int R>
void thinDot(int64_t k, const float* small, const float* large, int64_t stride, int64_t columns, float* out) {
  for (int64_t j = 0; j < columns; j += 4) {
    // Columns past the end repeat the last one and are not stored.
    const float* l[4];
    for (int i = 0; i < 4; i++) l[i] = large + minOf(j + i, columns - 1) * stride;
    VF acc[R][4];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) acc[r][i] = VF{};
    forVectors(0, k, [&](int64_t kk, auto lanes) {
      VF lv[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) lv[i] = lanes.load(l[i] + kk);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        const VF s = load(small + r * kThinBlockK + kk);  // zeros beyond k
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) acc[r][i] = mulAdd(s, lv[i], acc[r][i]);
      }
    });
#pragma GCC unroll 4
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++)
        if (j + i < columns) out[r * kThinBlockColumns + j + i] += sumLanes(acc[r][i]);
  }
}

template <int R = kGemmThin>
void thinAccumulateRows(int64_t rows, int64_t k, const float* small, const float* large, int64_t stride, int64_t columns, float* out) {
  if constexpr (R > 1)
    if (rows < R) return thinAccumulateRows<R - 1>(rows, k, small, large, stride, columns, out);
  thinAccumulate<R>(k, small, large, stride, columns, out);
}

// More than kGemmThin rows go group by group over four columns, which the second group finds in cache.
template <int R = kGemmThin>
void thinDotRows(int64_t rows, int64_t k, const float* small, const float* large, int64_t stride, int64_t columns, float* out) {
  if constexpr (R > 1)
    if (rows < R) return thinDotRows<R - 1>(rows, k, small, large, stride, columns, out);
  if (rows == R) return thinDot<R>(k, small, large, stride, columns, out);
  for (int64_t j = 0; j < columns; j += 4)
    for (int64_t r = 0; r < rows; r += kGemmThin)
      thinDotRows(minOf(kGemmThin, rows - r), k, small + r * kThinBlockK, large + j * stride, stride, minOf(4, columns - j), out + r * kThinBlockColumns + j);
}

// Whether the large operand's rows run along k, so that results are dot products.
inline bool isThinDot(const Gemm& g) { return g.m <= g.n ? g.transposeB : !g.transposeA; }

inline bool isThin(const Gemm& g) { return minOf(g.m, g.n) <= (isThinDot(g) ? kGemmThinDot : kGemmThin); }

// Columns [j0, j1) of the wide result, in blocks; `scratch` is one worker's.
inline void gemmThinRange(const Gemm& g, int64_t j0, int64_t j1, char* scratch) {
  float* small = reinterpret_cast<float*>(scratch);
  float* out = small + kGemmThinDot * kThinBlockK;
  const bool fewRows = g.m <= g.n;  // else few columns
  const int64_t rows = fewRows ? g.m : g.n;
  const float* smallSource = fewRows ? g.a : g.b;
  const int64_t smallRowStride = fewRows ? (g.transposeA ? 1 : g.lda) : (g.transposeB ? g.ldb : 1);
  const int64_t smallStepK = fewRows ? (g.transposeA ? g.lda : 1) : (g.transposeB ? 1 : g.ldb);
  const float* large = fewRows ? g.b : g.a;
  const int64_t stride = fewRows ? g.ldb : g.lda;
  const bool dot = isThinDot(g);

  for (int64_t j = j0; j < j1; j += kThinBlockColumns) {
    const int64_t columns = minOf(kThinBlockColumns, j1 - j);
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < columns; i += kLanes) store(out + r * kThinBlockColumns + i, VF{});
    for (int64_t k0 = 0; k0 < g.k; k0 += kThinBlockK) {
      const int64_t k = minOf(kThinBlockK, g.k - k0);
      for (int64_t r = 0; r < rows; r++) {
        float* to = small + r * kThinBlockK;
        for (int64_t kk = 0; kk < k; kk++) to[kk] = smallSource[r * smallRowStride + (k0 + kk) * smallStepK];
        for (int64_t kk = k; kk < ceilDiv(k, kLanes) * kLanes; kk++) to[kk] = 0;
      }
      if (dot) thinDotRows(rows, k, small, large + j * stride + k0, stride, columns, out);
      else thinAccumulateRows(rows, k, small, large + k0 * stride + j, stride, columns, out);
    }
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t i = 0; i < columns; i++) {
        float* c = fewRows ? g.c + r * g.ldc + j + i : g.c + (j + i) * g.ldc + r;
        const float value = g.alpha * out[r * kThinBlockColumns + i];
        *c = g.accumulate ? *c + value : value;
      }
    }
    if (g.hasEpilogue()) {
      if (fewRows) gemmEpilogue(g, 0, g.m, j, j + columns);
      else gemmEpilogue(g, j, j + columns, 0, g.n);
    }
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
