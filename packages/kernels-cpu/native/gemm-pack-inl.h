// Packs an operand of GEMM into panels: for each k, `width` neighbouring floats, so that the micro-kernel reads one stream without gaps.
#pragma once
#include "integers-inl.h"
#include "tile-sizes.h"

namespace tilegrad::TILEGRAD_TARGET {

// Panels that one pass over the rows of a source fills: reading more of each row before the next, which may be on another page, is worth
// the additional write streams.
constexpr int64_t kPackPanels = 8;

// Packs columns [0, columns) of a source with rows of `stride` floats: panel p, at dst + p·k·WIDTH, gets dst[kk·WIDTH + i] = src[kk·stride + p·WIDTH + i]. The
// last panel is as wide as what is left, padded with zeros to a multiple of `pad`. May write up to kLanes − 1 floats past a row of a panel: the next row, or the
// next panel, overwrites them, and buffers end with room for one vector.
template <int WIDTH>
void packColumns(float* dst, const float* src, int64_t stride, int64_t k, int64_t columns, int64_t pad) {
  int64_t first = 0;
  for (; first + WIDTH <= columns; first += kPackPanels * WIDTH) {
    const int64_t panels = minOf(kPackPanels, (columns - first) / WIDTH);
    for (int64_t kk = 0; kk < k; kk++) {
      const float* from = src + kk * stride + first;
      float* to = dst + first * k + kk * WIDTH;
      for (int64_t panel = 0; panel < panels; panel++) {
#pragma GCC unroll 4
        for (int i = 0; i + kLanes <= WIDTH; i += kLanes) store(to + i, load(from + i));
        if constexpr (WIDTH % kLanes != 0) {
          constexpr int kWhole = WIDTH / kLanes * kLanes;
          // A panel is written row after row, so what spills over its end would hit the first row of the next one, which is there already.
          if (kk + 1 < k) store(to + kWhole, loadPartial(from + kWhole, WIDTH - kWhole));
          else storePartial(to + kWhole, loadPartial(from + kWhole, WIDTH - kWhole), WIDTH - kWhole);
        }
        from += WIDTH;
        to += k * WIDTH;
      }
    }
    if (panels < kPackPanels) {
      first += panels * WIDTH;
      break;
    }
  }
  if (first >= columns) return;
  const int64_t valid = columns - first, width = ceilDiv(valid, pad) * pad;
  for (int64_t kk = 0; kk < k; kk++) {
    float* to = dst + first * k + kk * width;
    forVectors(0, valid, [&](int64_t i, auto lanes) { store(to + i, lanes.load(src + kk * stride + first + i)); });
  }
}

// dst[kk·width + i] = src[i·stride + kk], 0 for i ≥ valid: kLanes × kLanes blocks transposed in registers, about 4 floats per cycle; a scalar loop manages one.
// The `next` rows of the next panel (none if ≤ 0) are prefetched meanwhile: they are too far apart for the hardware to foresee. Groups of rows go from the last to
// the first, because a last group that is narrower than a vector spills into the next k's first group.
inline void packTranspose(float* dst, const float* src, int64_t stride, int64_t k, int64_t width, int64_t valid, int64_t next) {
  for (int64_t group = (width - 1) / kLanes * kLanes; group >= 0; group -= kLanes) {
    const int64_t rows = minOf(kLanes, valid - group), ahead = minOf(kLanes, next - group);
    const float* from = src + group * stride;
    float* to = dst + group;
    if (rows <= 0) {
      for (int64_t kk = 0; kk < k; kk++, to += width) store(to, VF{});
      continue;
    }
    int64_t kk = 0;
    for (; kk + kLanes <= k; kk += kLanes, to += kLanes * width) {
      VF block[kLanes];
      for (int64_t i = 0; i < ahead; i++) __builtin_prefetch(from + (width + i) * stride + kk, 0, 2);
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
