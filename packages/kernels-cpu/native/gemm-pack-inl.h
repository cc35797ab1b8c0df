// Packs an operand of GEMM into panels: for each k, `width` neighbouring floats, so that the micro-kernel reads one stream without gaps.
#pragma once
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {

// dst[kk·width + i] = src[kk·stride + i] for i < valid, 0 up to the next whole vector. May write up to kLanes − 1 floats past each row: the next row
// (or panel, packed in ascending order) overwrites them, and buffers end with room for one vector.
inline void packCopy(float* dst, const float* src, int64_t stride, int64_t k, int64_t width, int64_t valid) {
  const int64_t whole = valid / kLanes * kLanes;
  for (int64_t kk = 0; kk < k; kk++) {
    int64_t i = 0;
    for (; i < whole; i += kLanes) store(dst + i, load(src + i));
    if (i < valid) {
      store(dst + i, loadPartial(src + i, valid - i));
      i += kLanes;
    }
    for (; i < width; i += kLanes) store(dst + i, VF{});
    dst += width;
    src += stride;
  }
}

// dst[kk·width + i] = src[i·stride + kk]: kLanes × kLanes blocks transposed in registers, about 4 floats per cycle; a scalar loop manages one.
// Groups of rows go from the last to the first, because a last group that is narrower than a vector spills into the next k's first group.
inline void packTranspose(float* dst, const float* src, int64_t stride, int64_t k, int64_t width, int64_t valid) {
  for (int64_t group = (width - 1) / kLanes * kLanes; group >= 0; group -= kLanes) {
    const int64_t rows = valid - group < kLanes ? valid - group : kLanes;
    const float* from = src + group * stride;
    float* to = dst + group;
    int64_t kk = 0;
    for (; kk + kLanes <= k; kk += kLanes, to += kLanes * width) {
      VF block[kLanes];
      if (rows == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) block[i] = load(from + i * stride + kk);
      } else {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; i++) block[i] = i < rows ? load(from + i * stride + kk) : VF{};
      }
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; i++) store(to + i * width, block[i]);
    }
    if (kk < k) {
      VF block[kLanes];
      for (int i = 0; i < kLanes; i++) block[i] = i < rows ? loadPartial(from + i * stride + kk, k - kk) : VF{};
      transpose(block);
      for (int64_t i = 0; i < k - kk; i++) store(to + i * width, block[i]);
    }
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
