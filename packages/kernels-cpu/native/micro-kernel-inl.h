// The register tile that every product in this package is made of: GEMM, q·kᵀ, P·v and the five products of the backward pass.
//
// MR rows × NV vectors of accumulators stay in registers while k runs. Each step loads NV vectors of b and broadcasts MR scalars of a, so MR·NV
// multiply-adds share NV + MR loads. tile-sizes.h has the shapes.
#pragma once
#include "integers-inl.h"
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {

// acc[r][v] += Σ_kk a[r·rowStrideA + kk·stepA] · b[kk·stepB + v·kLanes …]. Strides of a are template parameters so that they become
// displacements: eight row pointers would not fit beside the loop's own registers. The loop takes `unroll` steps of k per turn.
template <int MR, int NV, int rowStrideA, int stepA, int unroll = kUnrollK>
TILEGRAD_INLINE void multiplyAdd(int64_t k, const float* a, const float* b, int64_t stepB, VF (&acc)[MR][NV]) {
  for (; k >= unroll; k -= unroll) {
#pragma GCC unroll 4
    for (int step = 0; step < unroll; step++, a += stepA, b += stepB) {
      VF bv[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) bv[v] = load(b + v * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < MR; r++) {
        const VF av = splat(a[r * rowStrideA]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = mulAdd(av, bv[v], acc[r][v]);
      }
    }
  }
  if constexpr (unroll > 1) multiplyAdd<MR, NV, rowStrideA, stepA, 1>(k, a, b, stepB, acc);
}

template <int MR, int NV>
TILEGRAD_INLINE void clear(VF (&acc)[MR][NV]) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) acc[r][v] = VF{};
}

template <int MR, int NV>
TILEGRAD_INLINE void addTile(const VF (&acc)[MR][NV], float* c, int64_t ldc) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) store(c + r * ldc + v * kLanes, load(c + r * ldc + v * kLanes) + acc[r][v]);
}

template <int MR, int NV>
TILEGRAD_INLINE void loadAdd(VF (&acc)[MR][NV], const float* c, int64_t ldc) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) acc[r][v] = load(c + r * ldc + v * kLanes) + acc[r][v];
}

template <int MR, int NV>
TILEGRAD_INLINE void storeTile(const VF (&acc)[MR][NV], float* c, int64_t ldc) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) store(c + r * ldc + v * kLanes, acc[r][v]);
}

// body(row, column, value, lanes) for the vectors of a register tile, as far as its first `rows` rows and `columns` columns go.
template <int MR, int NV, class F>
TILEGRAD_INLINE void forTile(const VF (&acc)[MR][NV], int64_t rows, int64_t columns, F&& body) {
  constexpr int64_t kColumns = NV * kLanes;
  if (rows >= MR && columns >= kColumns) {
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) body(int64_t(r), int64_t(v * kLanes), acc[r][v], WholeVector{});
    return;
  }
  float tile[MR * kColumns];
  storeTile(acc, tile, kColumns);
  for (int64_t r = 0; r < minOf(rows, MR); r++) {
    forVectors(0, minOf(columns, kColumns), [&](int64_t j, auto lanes) { body(r, j, load(tile + r * kColumns + j), lanes); });
  }
}

// How many vectors of columns a register tile has, as a type.
template <int n>
struct Vectors {
  static constexpr int count = n;
};

// body(column, vectors) for the register tiles across `columns`, a multiple of kLanes: of kNV vectors, then of one.
template <class F>
TILEGRAD_INLINE void forColumns(int64_t columns, F&& body) {
  int64_t j = 0;
  for (; j + kNR <= columns; j += kNR) body(j, Vectors<kNV>{});
  for (; j < columns; j += kLanes) body(j, Vectors<1>{});
}

// c[MR × columns] = a·b for one strip of MR rows, or += a·b; columns is a multiple of kLanes and b is row-major with rows of stepB floats. The products are added
// up from zero and then to c: beginning with c would round each of them at the size of the whole sum, and errors would grow with its length (docs/precision.md).
template <int MR, int rowStrideA, int stepA, bool add>
TILEGRAD_INLINE void multiplyStrip(int64_t k, const float* a, const float* b, int64_t stepB, float* c, int64_t ldc, int64_t columns) {
  forColumns(columns, [&](int64_t j, auto vectors) {
    VF acc[MR][decltype(vectors)::count];
    clear(acc);
    multiplyAdd<MR, decltype(vectors)::count, rowStrideA, stepA>(k, a, b + j, stepB, acc);
    add ? addTile(acc, c + j, ldc) : storeTile(acc, c + j, ldc);
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
