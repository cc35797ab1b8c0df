// The register tile that every product in this package is made of: GEMM, q·kᵀ, P·v and the five products of the backward pass.
//
// MR rows × NV vectors of accumulators stay in registers while k runs. Each step loads NV vectors of b and broadcasts MR scalars of a, so MR·NV
// multiply-adds share NV + MR loads. With two FMA ports of 4 cycles latency at least 8 independent accumulators are needed; the tile below has 16,
// and 10 loads for 16 FMAs stay under the 2 loads per cycle of the cores that have AVX-512. 16 registers (AVX2, SSE, WASM) hold 4 × 2 accumulators, 2 of b
// and one broadcast; 32 registers hold 8 × 2 with AVX-512, and with NEON, whose vectors are short and whose FMA pipes are four, 4 × 4.
//
// In WebAssembly (V8 on a Zen 5 core, 60 GFLOP/s of 128-bit multiply-adds, fused or not) attention runs at 74 to 81 % of that peak, forward and backward.
// Lost: a 3 × 4 tile (45 %) and k unrolled by 2 and by 4 (57 and 45 %), because the compiler then moves the loads of all steps to the front, and V8 has 15
// registers and spills. 4 × 3 and more rows are not possible: 12 columns do not divide 64, and the rows of a strip share one vector in OnlineSoftmax.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

#if defined(__AVX512F__)
constexpr int kMR = 8;
constexpr int kNV = 2;
#elif defined(__aarch64__)
constexpr int kMR = 4;
constexpr int kNV = 4;
#else
constexpr int kMR = 4;
constexpr int kNV = 2;
#endif
constexpr int kNR = kNV * kLanes;  // columns of a register tile; divides 64 on every target, so padding to 64 keys suits all

// acc[r][v] += Σ_kk a[r·rowStrideA + kk·stepA] · b[kk·stepB + v·kLanes …]. Strides of a are template parameters so that they become
// displacements: eight row pointers would not fit beside the loop's own registers.
template <int MR, int NV, int rowStrideA, int stepA>
TILEGRAD_INLINE void multiplyAdd(int64_t k, const float* a, const float* b, int64_t stepB, VF (&acc)[MR][NV]) {
  for (int64_t kk = 0; kk < k; kk++) {
    VF bv[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) bv[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < MR; r++) {
      const VF av = splat(a[r * rowStrideA]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) acc[r][v] = mulAdd(av, bv[v], acc[r][v]);
    }
    a += stepA;
    b += stepB;
  }
}

template <int MR, int NV>
TILEGRAD_INLINE void clear(VF (&acc)[MR][NV]) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) acc[r][v] = VF{};
}

template <int MR, int NV>
TILEGRAD_INLINE void loadTile(VF (&acc)[MR][NV], const float* c, int64_t ldc) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) acc[r][v] = load(c + r * ldc + v * kLanes);
}

template <int MR, int NV>
TILEGRAD_INLINE void storeTile(const VF (&acc)[MR][NV], float* c, int64_t ldc) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) store(c + r * ldc + v * kLanes, acc[r][v]);
}

// c[MR × columns] += a·b for one strip of MR rows; columns is a multiple of kLanes and b is row-major with rows of stepB floats.
template <int MR, int rowStrideA, int stepA>
TILEGRAD_INLINE void multiplyAddStrip(int64_t k, const float* a, const float* b, int64_t stepB, float* c, int64_t ldc, int64_t columns) {
  int64_t j = 0;
  for (; j + kNR <= columns; j += kNR) {
    VF acc[MR][kNV];
    loadTile(acc, c + j, ldc);
    multiplyAdd<MR, kNV, rowStrideA, stepA>(k, a, b + j, stepB, acc);
    storeTile(acc, c + j, ldc);
  }
  for (; j < columns; j += kLanes) {
    VF acc[MR][1];
    loadTile(acc, c + j, ldc);
    multiplyAdd<MR, 1, rowStrideA, stepA>(k, a, b + j, stepB, acc);
    storeTile(acc, c + j, ldc);
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
