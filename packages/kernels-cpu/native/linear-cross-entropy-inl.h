// Cross-entropy of logits = x·weightᵀ without ever holding all the logits: a chunk of rows at a time goes through GEMM into a workspace of
// [chunkRows, vocabSize], and the backward pass computes the chunk again. 2·R·V·C flops forward and 6·R·V·C backward; the work is GEMM's.
//
// Chunks follow one another and each GEMM inside uses all threads, so dweight is summed in the order of the chunks. One chunk per thread would need a dweight per
// thread, and the chunk's logits would leave the shared cache.
#pragma once
#include "cross-entropy-inl.h"
#include "gemm-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// logits [count, vocabSize] of rows first … first + count.
inline void chunkLogits(Context& ctx, const float* x, int64_t xStride, const float* weight, int64_t weightStride, int64_t count, int64_t vocabSize, int64_t channels, float* logits) {
  Gemm g = {};
  g.m = count;
  g.n = vocabSize;
  g.k = channels;
  g.a = x;
  g.lda = xStride;
  g.b = weight;
  g.ldb = weightStride;
  g.transposeB = true;
  g.c = logits;
  g.ldc = vocabSize;
  gemmRun(ctx, g);
}

// Arguments: x, weight, targets, loss, lse, rowLosses [rows], logits [chunkRows, vocabSize], rows, channels, vocabSize, xStride, weightStride,
// chunkRows, ignoreIndex.
inline void linear_cross_entropy_forward(Reader& args, Context& ctx) {
  const float* x = args.ptr();
  const float* weight = args.ptr();
  const int32_t* targets = args.ptr<int32_t>();
  float* loss = args.ptr();
  float* lse = args.ptr();
  float* rowLosses = args.ptr();
  float* logits = args.ptr();
  const int64_t rows = args.i64(), channels = args.i64(), vocabSize = args.i64(), xStride = args.i64(), weightStride = args.i64();
  const int64_t chunkRows = args.i64();
  const int64_t ignoreIndex = args.i64();
  for (int64_t first = 0; first < rows; first += chunkRows) {
    const int64_t count = minOf(chunkRows, rows - first);
    // 1. logits of the chunk
    chunkLogits(ctx, x + first * xStride, xStride, weight, weightStride, count, vocabSize, channels, logits);
    // 2. log-sum-exp and loss of each row
    parallelChunks(ctx, count, vocabSize, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t row = first + i;
        lse[row] = logSumExp(logits + i * vocabSize, vocabSize);
        rowLosses[row] = rowLoss(logits + i * vocabSize, vocabSize, targets[row], ignoreIndex, lse[row]);
      }
    });
  }
  *loss = meanLoss(rowLosses, targets, rows, ignoreIndex);
}

// Arguments: dloss, x, weight, targets, lse, dx, dweight, logits [chunkRows, vocabSize], rows, channels, vocabSize, xStride, weightStride, chunkRows,
// ignoreIndex, accumulate (dweight).
inline void linear_cross_entropy_backward(Reader& args, Context& ctx) {
  const float* dloss = args.ptr();
  const float* x = args.ptr();
  const float* weight = args.ptr();
  const int32_t* targets = args.ptr<int32_t>();
  const float* lse = args.ptr();
  float* dx = args.ptr();
  float* dweight = args.ptr();
  float* logits = args.ptr();
  const int64_t rows = args.i64(), channels = args.i64(), vocabSize = args.i64(), xStride = args.i64(), weightStride = args.i64();
  const int64_t chunkRows = args.i64();
  const int64_t ignoreIndex = args.i64();
  const bool accumulate = args.flag();
  const float factor = *dloss / float(countTargets(targets, rows, ignoreIndex));
  int64_t first = 0;
  do {  // once even without rows, which stores a dweight of zeros
    const int64_t count = minOf(chunkRows, rows - first);
    const float* xChunk = x + first * xStride;
    // 1. recompute the logits of the chunk
    chunkLogits(ctx, xChunk, xStride, weight, weightStride, count, vocabSize, channels, logits);
    // 2. turn them into their gradients in place
    parallelChunks(ctx, count, vocabSize, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; i++) {
        float* row = logits + i * vocabSize;
        rowGradient(row, row, vocabSize, targets[first + i], ignoreIndex, lse[first + i], factor);
      }
    });
    // 3. dx = dlogits·weight
    Gemm g = {};
    g.m = count;
    g.n = channels;
    g.k = vocabSize;
    g.a = logits;
    g.lda = vocabSize;
    g.b = weight;
    g.ldb = weightStride;
    g.c = dx + first * channels;
    g.ldc = channels;
    gemmRun(ctx, g);
    // 4. dweight += dlogitsᵀ·x
    g = {};
    g.m = vocabSize;
    g.n = channels;
    g.k = count;
    g.a = logits;
    g.lda = vocabSize;
    g.transposeA = true;
    g.b = xChunk;
    g.ldb = xStride;
    g.c = dweight;
    g.ldc = channels;
    g.accumulate = accumulate || first > 0;
    gemmRun(ctx, g);
    first += count;
  } while (first < rows);
}

}  // namespace tilegrad::TILEGRAD_TARGET
