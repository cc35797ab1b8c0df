// Copies between two strided arrays of up to five axes.
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// One plane of a copy: rows × columns with a stride of each on both sides. Where both sides run along columns it is row copies; else the
// plane goes in blocks of 16 × 16, so that each cache line of either side is touched while it is in L1.
template <class T>
void copyPlane(const T* from, T* to, int64_t rows, int64_t columns, int64_t fromRow, int64_t fromColumn, int64_t toRow, int64_t toColumn) {
  if (fromColumn == 1 && toColumn == 1) {
    for (int64_t r = 0; r < rows; r++) memcpy(to + r * toRow, from + r * fromRow, size_t(columns) * sizeof(T));
    return;
  }
  constexpr int64_t kBlock = 16;
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock)
    for (int64_t c0 = 0; c0 < columns; c0 += kBlock) {
      const int64_t r1 = minOf(rows, r0 + kBlock), c1 = minOf(columns, c0 + kBlock);
      for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++) to[r * toRow + c * toColumn] = from[r * fromRow + c * fromColumn];
    }
}

template <class T>
void copyStrided(const T* from, T* to, const int64_t (&size)[5], const int64_t (&fromStride)[5], const int64_t (&toStride)[5], Context& ctx) {
  // Planes over the last two axes; long ones are cut by rows.
  const int64_t planes = size[0] * size[1] * size[2];
  parallelChunks(ctx, planes * size[3], size[4], 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end;) {
      const int64_t plane = item / size[3], row = item % size[3];
      const int64_t rows = minOf(size[3] - row, end - item);
      const int64_t i2 = plane % size[2], i1 = plane / size[2] % size[1], i0 = plane / size[2] / size[1];
      const int64_t fromOffset = i0 * fromStride[0] + i1 * fromStride[1] + i2 * fromStride[2] + row * fromStride[3];
      const int64_t toOffset = i0 * toStride[0] + i1 * toStride[1] + i2 * toStride[2] + row * toStride[3];
      copyPlane(from + fromOffset, to + toOffset, rows, size[4], fromStride[3], fromStride[4], toStride[3], toStride[4]);
      item += rows;
    }
  });
}

// Arguments: from, to, bytes per element (2 or 4), then five axes from the outermost: size, stride in `from`, stride in `to` (elements).
inline void copy(Reader& args, Context& ctx) {
  const char* from = args.ptr<char>();
  char* to = args.ptr<char>();
  const int64_t bytes = args.i64();
  int64_t size[5], fromStride[5], toStride[5];
  for (int axis = 0; axis < 5; axis++) {
    size[axis] = args.i64();
    fromStride[axis] = args.i64();
    toStride[axis] = args.i64();
  }
  if (bytes == 2) copyStrided(reinterpret_cast<const uint16_t*>(from), reinterpret_cast<uint16_t*>(to), size, fromStride, toStride, ctx);
  else copyStrided(reinterpret_cast<const uint32_t*>(from), reinterpret_cast<uint32_t*>(to), size, fromStride, toStride, ctx);
}

}  // namespace tilegrad::TILEGRAD_TARGET
