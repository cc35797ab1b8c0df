// How row-wise and elementwise kernels share out their work. Chunks may depend on the number of threads: each result element is
// computed inside one chunk, in an order that the chunk does not change.
#pragma once
#include "engine.h"
#include "integers-inl.h"
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {


// body(begin, end, worker) over [0, count) in chunks of a multiple of `granule`, none of them cheaper than kTaskElements at `costPerItem` elements
// each (except the last). Four chunks per thread even out what other processes take.
template <class F>
inline void parallelChunks(Context& ctx, int64_t count, int64_t costPerItem, int64_t granule, F&& body) {
  if (count <= 0) return;
  const int64_t perThread = ceilDiv(count, int64_t(ctx.pool.threads()) * 4);
  const int64_t least = ceilDiv(kTaskElements, maxOf(costPerItem, 1));
  const int64_t chunk = ceilDiv(maxOf(perThread, least), granule) * granule;
  parallelFor(ctx.pool, ceilDiv(count, chunk), [&](int64_t task, int worker) { body(task * chunk, minOf(count, (task + 1) * chunk), worker); });
}

// body(row, begin, end) over the elements of `rows` rows of `columns` elements. Where every operand is contiguous (`flat`) all rows are
// one long row 0.
template <class F>
inline void parallelElements(Context& ctx, int64_t rows, int64_t columns, bool flat, F&& body) {
  if (flat) {
    parallelChunks(ctx, rows * columns, 1, 64, [&](int64_t begin, int64_t end, int) { body(int64_t(0), begin, end); });
  } else {
    parallelChunks(ctx, rows, columns, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; row++) body(row, int64_t(0), columns);
    });
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
