// What one GEMM computes, and the steps that all of its code paths share.
#pragma once
#include "gelu-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// c = alpha·op(a)·op(b) + bias → activation, or c += alpha·op(a)·op(b). op(a) is m × k and op(b) k × n; lda and ldb are the floats between
// rows as stored: of a [m, k] or, transposed, [k, m]; of b [k, n] or [n, k].
struct Gemm {
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  bool transposeA;
  const float* b;
  int64_t ldb;
  bool transposeB;
  float* c;
  int64_t ldc;
  float alpha = 1;
  bool accumulate = false;
  const float* bias = nullptr;
  bool gelu = false;
  float* preActivation = nullptr;  // rows of ldc floats, as c

  bool hasEpilogue() const { return bias || gelu || preActivation; }
};

// Bias, the store of what precedes the activation, and the activation, on rows [m0, m1) × columns [n0, n1) of c while they are in L1.
inline void gemmEpilogue(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  for (int64_t i = m0; i < m1; i++) {
    float* c = g.c + i * g.ldc;
    float* pre = g.preActivation ? g.preActivation + i * g.ldc : nullptr;
    forVectors(n0, n1, [&](int64_t j, auto lanes) {
      VF value = lanes.load(c + j);
      if (g.bias) value += lanes.load(g.bias + j);
      if (pre) lanes.store(pre + j, value);
      lanes.store(c + j, g.gelu ? gelu(value) : value);
    });
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
