// delta_i = Σ_d dout_id·out_id, the term that softmax's gradient subtracts from dP (arXiv 2205.14135, appendix B.2, eq. 4).
// Mirrors core-math/src/attention-backward-preprocess.ts. FLOPs 2·Sq·Dv per head, bytes: dout and out once.
#pragma once
#include "attention-problem-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

inline float rowDelta(const float* dout, const float* out, int64_t headDimV) {
  VF sum = {};
  int64_t d = 0;
  for (; d + kLanes <= headDimV; d += kLanes) sum = mulAdd(load(dout + d), load(out + d), sum);
  if (d < headDimV) sum = mulAdd(loadPartial(dout + d, headDimV - d), loadPartial(out + d, headDimV - d), sum);
  return sumLanes(sum);
}

}  // namespace tilegrad::TILEGRAD_TARGET
