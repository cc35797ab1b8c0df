// Sums over rows, column by column: gradients of biases and of norm weights.
//
// Rows are cut into parts by shape alone, each part is summed in the order of its rows, and the parts are added in ascending order. So threads
// share the work and the result does not depend on how many there are. Errors grow with rows/parts + parts instead of with rows.
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Rows of part p of `parts` are [p·rows/parts, (p + 1)·rows/parts). TypeScript chooses `parts` (src/kernels/column-parts.ts), since it makes the workspace.
inline int64_t partStart(int64_t rows, int64_t parts, int64_t part) { return part * rows / parts; }

// out[j] = Σ_part partial[part·stride + j], or added to out.
inline void mergeParts(Context& ctx, const float* partial, int64_t parts, int64_t stride, int64_t columns, float* out, bool accumulate) {
  parallelChunks(ctx, columns, parts, 64, [&](int64_t begin, int64_t end, int) {
    forVectors(begin, end, [&](int64_t j, auto lanes) {
      VF sum = {};
      for (int64_t part = 0; part < parts; part++) sum += lanes.load(partial + part * stride + j);
      lanes.store(out + j, accumulate ? lanes.load(out + j) + sum : sum);
    });
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
