// Rotary position embedding with half-rotation pairs (arXiv 2104.09864, eq. 34). 6 flops per 16 bytes: memory speed.
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// out [batchSize, seqlen, nHeads, headDim] contiguous; `sign` is 1, or −1 for the inverse rotation.
// Arguments: x, cos, sin, out, batchSize, seqlen, nHeads, headDim, half (pairs), xStrideBatch, xStrideSeq, xStrideHead, cosStride, sinStride,
// positionOffset, sign.
inline void rope(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  const float* cosTable = args.ptr();
  const float* sinTable = args.ptr();
  float* out = args.ptr();
  const int64_t batchSize = args.i64(), seqlen = args.i64(), nHeads = args.i64(), headDim = args.i64(), half = args.i64();
  const int64_t xStrideBatch = args.i64(), xStrideSeq = args.i64(), xStrideHead = args.i64(), cosStride = args.i64(), sinStride = args.i64();
  const int64_t positionOffset = args.i64();
  const VF sign = splat(args.f32());
  parallelChunks(ctx, batchSize * seqlen, nHeads * headDim, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t s = row % seqlen;
      const float* cos = cosTable + (s + positionOffset) * cosStride;
      const float* sin = sinTable + (s + positionOffset) * sinStride;
      for (int64_t head = 0; head < nHeads; head++) {
        const float* from = x + row / seqlen * xStrideBatch + s * xStrideSeq + head * xStrideHead;
        float* to = out + (row * nHeads + head) * headDim;
        forVectors(0, half, [&](int64_t i, auto lanes) {
          const VF c = lanes.load(cos + i), sn = lanes.load(sin + i) * sign;
          const VF first = lanes.load(from + i), second = lanes.load(from + half + i);
          lanes.store(to + i, first * c - second * sn);
          lanes.store(to + half + i, second * c + first * sn);
        });
        forVectors(2 * half, headDim, [&](int64_t i, auto lanes) { lanes.store(to + i, lanes.load(from + i)); });
      }
    }
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
