// Matrix products with transposes, bias, GELU and accumulation: 2·m·n·k flops.
//
// Loops after Goto and van de Geijn (2008), around the register tile of gemm-tile-inl.h: columns of b by kGemmBlockN, k by kGemmBlockK (b's block is packed),
// rows of a by kGemmBlockM (a's block is packed), then panels of b (L1), then panels of a (L2). Threads take rectangles of c and pack what they need for
// themselves: a block of b packed twice costs one part in 2·rows of the rectangle, less than the barrier that sharing it would need. k is never
// shared out, so each element is summed in one order whatever the number of threads.
#pragma once
#include "gemm-thin-inl.h"
#include "gemm-pack-inl.h"
#include "gemm-tile-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

static_assert((kGemmBlockM * kGemmBlockK + kGemmBlockK * kGemmBlockN + 4 * kLanes) * 4 <= int64_t(kScratchBytes), "packed blocks fit a worker's scratch");

// c[m0 … m1, n0 … n1] += the block of a (packed in aPack) times the block of b, both at k0.
inline void gemmMacroKernel(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, int64_t k0, int64_t k, const float* aPack, const float* bPack, bool bInPlace) {
  const GemmTarget target = {g.ldc, g.alpha, g.accumulate || k0 > 0};
  const bool last = k0 + k == g.k;
  for (int64_t n = n0; n < n1; n += kGemmColumns) {
    const int64_t columns = minOf(kGemmColumns, n1 - n);
    const int64_t vectors = ceilDiv(columns, kLanes);
    // A partial vector must not read past the rows of b: gemmRange packed that panel even where the others are read in place.
    const bool inPlace = bInPlace && columns == kGemmColumns;
    const float* b = inPlace ? g.b + k0 * g.ldb + n : bInPlace ? bPack : bPack + (n - n0) * k;
    const int64_t ldb = inPlace ? g.ldb : vectors * kLanes;
    for (int64_t m = m0; m < m1; m += kGemmRows) {
      const int64_t rows = minOf(kGemmRows, m1 - m);
      const float* a = aPack + (m - m0) * k;
      float* c = g.c + m * g.ldc + n;
      if (rows == kGemmRows && vectors == kGemmVectors) gemmTile<kGemmRows, kGemmVectors>(k, a, b, ldb, c, columns, target);
      else pickGemmTile(rows, vectors)(k, a, b, ldb, c, columns, target);
      if (last && g.hasEpilogue()) gemmEpilogue(g, m, m + rows, n, n + columns);
    }
  }
}

inline void gemmPackB(const Gemm& g, int64_t n0, int64_t n1, int64_t k0, int64_t k, float* bPack) {
  if (!g.transposeB) {
    packColumns<kGemmColumns>(bPack, g.b + k0 * g.ldb + n0, g.ldb, k, n1 - n0, kLanes);
    return;
  }
  for (int64_t n = n0; n < n1; n += kGemmColumns) {
    const int64_t columns = minOf(kGemmColumns, n1 - n);
    packTranspose(bPack + (n - n0) * k, g.b + n * g.ldb + k0, g.ldb, k, ceilDiv(columns, kLanes) * kLanes, columns, n1 - n - kGemmColumns);
  }
}

inline void gemmPackA(const Gemm& g, int64_t m0, int64_t m1, int64_t k0, int64_t k, float* aPack) {
  if (g.transposeA) {
    packColumns<kGemmRows>(aPack, g.a + k0 * g.lda + m0, g.lda, k, m1 - m0, 1);
    return;
  }
  for (int64_t m = m0; m < m1; m += kGemmRows) {
    const int64_t rows = minOf(kGemmRows, m1 - m);
    packTranspose(aPack + (m - m0) * k, g.a + m * g.lda + k0, g.lda, k, rows, rows, m1 - m - kGemmRows);
  }
}

// One rectangle of c, by one worker.
inline void gemmRange(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1, char* scratch) {
  float* bPack = reinterpret_cast<float*>(scratch);
  float* aPack = bPack + kGemmBlockK * kGemmBlockN;
  // Packing b pays only if enough rows use it.
  const bool bInPlace = !g.transposeB && m1 - m0 <= kGemmInPlaceRows;
  for (int64_t nBlock = n0; nBlock < n1; nBlock += kGemmBlockN) {
    const int64_t nEnd = minOf(n1, nBlock + kGemmBlockN);
    int64_t k0 = 0;
    do {  // once even for k = 0, which stores zeros
      const int64_t k = minOf(kGemmBlockK, g.k - k0);
      if (!bInPlace) gemmPackB(g, nBlock, nEnd, k0, k, bPack);
      else if (nEnd % kGemmColumns != nBlock % kGemmColumns) gemmPackB(g, nEnd - (nEnd - nBlock) % kGemmColumns, nEnd, k0, k, bPack);
      for (int64_t mBlock = m0; mBlock < m1; mBlock += kGemmBlockM) {
        const int64_t mEnd = minOf(m1, mBlock + kGemmBlockM);
        gemmPackA(g, mBlock, mEnd, k0, k, aPack);
        gemmMacroKernel(g, mBlock, mEnd, nBlock, nEnd, k0, k, aPack, bPack, bInPlace);
      }
      k0 += k;
    } while (k0 < g.k);
  }
}

// How many parts c's rows and columns are cut into.
struct GemmGrid {
  int64_t rows, columns;
};

// The grid with the least estimated time: rounds of equal rectangles over the threads, each costing its register tiles (two vector FMAs per cycle), its packing (about
// 3 floats per cycle) and a task's start; and a tenth of a task at the end, when some threads are done and others, which were interrupted, are not.
inline GemmGrid chooseGemmGrid(int64_t m, int64_t n, int64_t k, int64_t batch, int64_t threads) {
  GemmGrid best = {1, 1};
  if (threads == 1) return best;
  double bestCost = 0;
  const int64_t mTiles = ceilDiv(m, kGemmRows), nTiles = ceilDiv(n, kGemmColumns);
  for (int64_t rows = 1; rows <= minOf(mTiles, 4 * threads); rows++) {
    for (int64_t columns = 1; columns <= minOf(nTiles, 4 * threads / rows); columns++) {
      const double tileRows = double(ceilDiv(mTiles, rows) * kGemmRows), tileColumns = double(ceilDiv(nTiles, columns) * kGemmColumns);
      const double packing = (tileRows + tileColumns) * double(k) / 3;
      const double cycles = tileRows * tileColumns * double(k) / (2 * kLanes) + packing + kTaskCycles;
      const double cost = cycles * (double(ceilDiv(batch * rows * columns, threads)) + 0.1) + (batch * rows * columns > 1 ? kForkCycles : 0);
      if ((rows == 1 && columns == 1) || cost < bestCost) {
        bestCost = cost;
        best = {rows, columns};
      }
    }
  }
  return best;
}

// `batch` products; problem(i) is the i-th, all of one size.
template <class F>
inline void gemmBatch(Context& ctx, int64_t batch, F&& problem) {
  if (batch == 0) return;
  const Gemm first = problem(0);
  if (first.m == 0 || first.n == 0) return;
  if (isThin(first)) {
    const int64_t wide = maxOf(first.m, first.n);
    parallelChunks(ctx, batch * wide, first.k, 64, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t j = begin; j < end;) {
        const int64_t index = j / wide, from = j % wide, to = minOf(wide, from + end - j);
        gemmThinRange(problem(index), from, to, ctx.scratch(worker));
        j += to - from;
      }
    });
    return;
  }
  const GemmGrid grid = chooseGemmGrid(first.m, first.n, first.k, batch, ctx.pool.threads());
  const int64_t mTiles = ceilDiv(first.m, kGemmRows), nTiles = ceilDiv(first.n, kGemmColumns);
  const int64_t parts = grid.rows * grid.columns;
  parallelChunks(ctx, batch * parts, first.m * first.n * maxOf(first.k, 1) / parts / 32, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t task = begin; task < end; task++) {
      const int64_t row = task % parts / grid.columns, column = task % grid.columns;
      // Tiles are dealt out evenly: part p of P gets tiles [p·T/P, (p + 1)·T/P).
      const int64_t m0 = row * mTiles / grid.rows * kGemmRows, m1 = minOf(first.m, (row + 1) * mTiles / grid.rows * kGemmRows);
      const int64_t n0 = column * nTiles / grid.columns * kGemmColumns, n1 = minOf(first.n, (column + 1) * nTiles / grid.columns * kGemmColumns);
      gemmRange(problem(task / parts), m0, m1, n0, n1, ctx.scratch(worker));
    }
  });
}

inline void gemmRun(Context& ctx, const Gemm& problem) {
  gemmBatch(ctx, 1, [&](int64_t) { return problem; });
}

// Arguments: a, b, c, bias or 0, preActivation or 0, m, n, k, lda, ldb, transposeA, transposeB, alpha, accumulate, gelu,
// then three batch axes from the outermost: size, a's stride, b's stride. c and preActivation are contiguous [batch, m, n].
inline void gemm(Reader& args, Context& ctx) {
  Gemm g = {};
  g.a = args.ptr();
  g.b = args.ptr();
  g.c = args.ptr();
  g.bias = args.ptr();
  g.preActivation = args.ptr();
  g.m = args.i64();
  g.n = args.i64();
  g.k = args.i64();
  g.lda = args.i64();
  g.ldb = args.i64();
  g.ldc = g.n;
  g.transposeA = args.flag();
  g.transposeB = args.flag();
  g.alpha = args.f32();
  g.accumulate = args.flag();
  g.gelu = args.flag();
  int64_t size[3], strideA[3], strideB[3];
  for (int axis = 0; axis < 3; axis++) {
    size[axis] = args.i64();
    strideA[axis] = args.i64();
    strideB[axis] = args.i64();
  }
  gemmBatch(ctx, size[0] * size[1] * size[2], [&](int64_t index) {
    const int64_t i2 = index % size[2], i1 = index / size[2] % size[1], i0 = index / size[2] / size[1];
    Gemm one = g;
    one.a += i0 * strideA[0] + i1 * strideA[1] + i2 * strideA[2];
    one.b += i0 * strideB[0] + i1 * strideB[1] + i2 * strideB[2];
    one.c += index * g.m * g.n;
    if (one.preActivation) one.preActivation += index * g.m * g.n;
    return one;
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
