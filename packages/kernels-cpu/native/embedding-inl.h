// Rows of a table by token, and the sum of their gradients. Memory speed.
#pragma once
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Tokens outside the vocabulary read as zeros. Arguments: tokens, weight, out, count, channels, weightStride, vocabSize.
inline void embedding_forward(Reader& args, Context& ctx) {
  const int32_t* tokens = args.ptr<int32_t>();
  const float* weight = args.ptr();
  float* out = args.ptr();
  const int64_t count = args.i64(), channels = args.i64(), weightStride = args.i64(), vocabSize = args.i64();
  parallelChunks(ctx, count, channels, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const int64_t token = tokens[row];
      float* outRow = out + row * channels;
      if (token < 0 || token >= vocabSize) forVectors(0, channels, [&](int64_t i, auto lanes) { lanes.store(outRow + i, VF{}); });
      else forVectors(0, channels, [&](int64_t i, auto lanes) { lanes.store(outRow + i, lanes.load(weight + token * weightStride + i)); });
    }
  });
}

// Threads share the channels, not the tokens: two equal tokens then never meet in two threads, and each sum runs in the order of the tokens.
// Sorting the tokens first would read dout in a random order and gain only where channels are fewer than threads × 16.
// Arguments: dout, tokens, dweight, count, channels, doutStride, vocabSize, accumulate.
inline void embedding_backward(Reader& args, Context& ctx) {
  const float* dout = args.ptr();
  const int32_t* tokens = args.ptr<int32_t>();
  float* dweight = args.ptr();
  const int64_t count = args.i64(), channels = args.i64(), doutStride = args.i64(), vocabSize = args.i64();
  const bool accumulate = args.flag();
  if (!accumulate) {
    parallelElements(ctx, vocabSize, channels, true, [&](int64_t, int64_t begin, int64_t end) {
      forVectors(begin, end, [&](int64_t i, auto lanes) { lanes.store(dweight + i, VF{}); });
    });
  }
  // Whole cache lines per thread, as wide as they can be.
  const int64_t granule = maxOf(16, ceilDiv(ceilDiv(channels, ctx.pool.threads()), 16) * 16);
  parallelChunks(ctx, channels, count, granule, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = 0; row < count; row++) {
      const int64_t token = tokens[row];
      if (token < 0 || token >= vocabSize) continue;
      float* to = dweight + token * channels;
      const float* from = dout + row * doutStride;
      forVectors(begin, end, [&](int64_t i, auto lanes) { lanes.store(to + i, lanes.load(to + i) + lanes.load(from + i)); });
    }
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
