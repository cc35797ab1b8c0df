// The functions of simd-inl.h on an array, so that tests can sweep them (src/kernels/simd-math.test.ts).
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Function: 0 exp2, 1 exp, 2 tanh, 3 log, 4 sqrt. Arguments: function, x, out, count.
inline void simd_check(Reader& args, Context& ctx) {
  const int64_t function = args.i64();
  const float* x = args.ptr();
  float* out = args.ptr();
  const int64_t count = args.i64();
  parallelElements(ctx, 1, count, true, [&](int64_t, int64_t begin, int64_t end) {
    forVectors(begin, end, [&](int64_t i, auto lanes) {
      const VF v = lanes.load(x + i);
      VF y = {};
      switch (function) {
        case 0: y = exp2(v); break;
        case 1: y = exp(v); break;
        case 2: y = tanh(v); break;
        case 3: y = log(v); break;
        default: y = sqrt(v);
      }
      lanes.store(out + i, y);
    });
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
