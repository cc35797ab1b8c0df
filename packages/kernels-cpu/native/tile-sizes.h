// Every register tile, every blocking constant of GEMM and of attention's forward kernels and every grain of the threaded kernels, in one place. Sizes are in floats unless they say bytes.
// They depend on the target and on nothing at run time: blocking fixes the order of summation, so results may not depend on the machine's load.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Register tile of attention, rows × vectors: q·kᵀ, P·v and the five products of the backward pass. With two FMA ports of 4 cycles latency at least 8
// independent accumulators are needed; the tile below has 16, and 10 loads for 16 FMAs stay under the 2 loads per cycle of the cores that have AVX-512.
// 16 registers (AVX2, SSE, WASM) hold 4 × 2 accumulators, 2 of b and one broadcast; 32 registers hold 8 × 2 with AVX-512, and with NEON, whose vectors are
// short and whose FMA pipes are four, 4 × 4. 12 × 2 with AVX-512 was no faster, and its strips waste more at the ends of a sequence.
// In WebAssembly 3 × 4 ran at three fifths of 4 × 2, because V8 has 15 registers and spills. 4 × 3 and more rows are not possible: 12 columns do not
// divide 64, and the rows of a strip share one vector in OnlineSoftmax.
#if defined(__AVX512F__)
constexpr int kMR = 8;
constexpr int kNV = 2;
#elif defined(__aarch64__)
constexpr int kMR = 4;
constexpr int kNV = 4;
#else
constexpr int kMR = 4;
constexpr int kNV = 2;
#endif
constexpr int kNR = kNV * kLanes;  // columns of a register tile; divides 64 on every target, so padding to 64 keys suits all

// Steps of k per turn of attention's register tile. 4 gained 1.5 % with AVX-512 and lost 4 % with AVX2; in WebAssembly the compiler moves the loads of all
// steps to the front and spills. GEMM's larger tile lost 2 % by it and takes one.
#if defined(__AVX512F__)
constexpr int kUnrollK = 4;
#else
constexpr int kUnrollK = 1;
#endif

// Tiles of attention's forward kernel. The scores of two strips, kMR × kBlockN each, take a third of a 48 KiB L1; a tile of K and V, 128 KiB at
// head dimension 64, fits L2 with the Q and O rows of a task and the tile that comes next. Of kBlockM 64, 96 and 128 the smallest makes the most tasks, and
// was as fast. attention-workspace.ts counts tasks with kBlockM.
constexpr int64_t kBlockM = 64;
constexpr int64_t kBlockN = 256;

// Tiles of attention's backward pass. A task's K and V, each in panels, K in rows too, and the sums of dK and dV take 5·kBackwardBlockN·D floats, 640 KiB of L2 at
// head dimension 128. Against blocks of 128 keys, which are added to dQ twice as often: 3 to 6 % less time with 8 and 64 heads of 256 × 64 and × 128, 2 % at N 512, 1 to 4 %
// beyond. Blocks have half as many keys where D + Dv are more than kBackwardDims, and where there would be fewer than kBackwardTasks tasks.
// 128 query rows instead of 64 gained nothing, and lost 1 to 2 % at N 128.
constexpr int64_t kBackwardBlockM = 64;
constexpr int64_t kBackwardBlockN = 256;
constexpr int64_t kBackwardDims = 256;
constexpr int64_t kBackwardTasks = 8;

// A head whose packed K and V take no more than this (an L2) is one task's alone, where each thread has several heads: 5 % less time than sharing what was
// packed with 64 heads of 128 or 256 × 64, 1 to 2 % with 8 of 512 to 2048 × 64.
constexpr int64_t kHeadFloats = 256 * 1024;
constexpr int64_t kHeadsPerThread = 4;

// Decoding: query rows per task, so that heads which lie side by side in memory are read together; keys that one pass over the heads takes; how far ahead of
// their use rows are prefetched, 8 KiB; and keys of a block, whose scores stay in L1 with Q, O and the rows on their way.
constexpr int64_t kDecodeRows = 128;
constexpr int kDecodeKeys = 4;
constexpr int64_t kDecodeAheadFloats = 2048;
constexpr int64_t kDecodeScoreFloats = 8192;
constexpr int64_t kDecodeMinBlockN = 64;
constexpr int64_t kDecodeMaxBlockN = 256;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kDecodeAccumulators = 16;
#else
constexpr int kDecodeAccumulators = 8;
#endif

constexpr int64_t kLineFloats = 16;  // a cache line

// Attention asks for rows ahead of use where its tensors are larger than this, an L2: with 64 heads of 128 × 64 the backward pass then takes 8 % less time,
// while asking cost 3 to 7 % of the forward pass over 8 heads of 64 × 64, which stay in L2. WebAssembly has no word for it.
#if defined(__wasm__)
constexpr int64_t kPrefetchBytes = INT64_MAX;
#else
constexpr int64_t kPrefetchBytes = 1024 * 1024;
#endif
// And how often the backward pass must use each row of a tile, on average and halved, for that: with 64 heads of 16 or 32 × 128 asking cost 7 to 10 %,
// with 64 × 64 or × 128 it saves up to 15 %.
constexpr int64_t kPrefetchUses = 24;

// Register tile of GEMM, rows × vectors. An FMA has 4 cycles of latency and two ports, so 8 independent accumulators are the least; more share
// each load among more multiply-adds. Of 32 registers 12 × 2 leave room for two vectors of b, a broadcast and what the compiler keeps; 14 × 2 ran no faster and
// divides fewer of the widths that models have, 8 × 3 lost 2 %. Of 16 registers 6 × 2 is the largest that does not spill; without FMA it also beat 5 × 2
// (by 2 %), 4 × 2 (by a quarter) and 4 × 3 (by half).
// In WebAssembly 4 × 2 runs at four fifths of the peak and 5 × 2 and 6 × 2 at half of it: V8 keeps a register or two of the 16 for itself, and they spill.
#if defined(__AVX512F__)
constexpr int kGemmRows = 12;
constexpr int kGemmVectors = 2;
#elif defined(__SSE2__)
constexpr int kGemmRows = 6;
constexpr int kGemmVectors = 2;
#elif defined(__aarch64__)
constexpr int kGemmRows = 8;
constexpr int kGemmVectors = 3;
#else
constexpr int kGemmRows = 4;
constexpr int kGemmVectors = 2;
#endif
constexpr int kGemmColumns = kGemmVectors * kLanes;

// Blocking (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008): a k × kGemmColumns panel of b (48 KiB at most) is reused
// from L1 while the panels of a, kGemmBlockM × kGemmBlockK in all (≤ 378 KiB of L2), pass by; kGemmBlockK × kGemmBlockN of b (1.5 MiB) fill the rest of a worker's
// scratch. Longer k means fewer passes over c: 384 gained 2 to 6 % over 256 although its panel takes all of L1; 512 gained no more.
constexpr int64_t kGemmBlockK = 384;
constexpr int64_t kGemmBlockM = 252;  // a multiple of kGemmRows but on arm64
constexpr int64_t kGemmBlockN = 1024;

// Up to this many rows (or columns) GEMM reads the other operand in place instead of packing it (gemm-thin-inl.h): more where results are dot
// products, because the alternative is a transposition for each row's worth of work.
constexpr int64_t kGemmThin = 4;
constexpr int64_t kGemmThinDot = 12;

// Up to this many rows GEMM reads a b that needs no transposing in place: each packed float would be used too few times.
constexpr int64_t kGemmInPlaceRows = 2 * kGemmRows;

// What a task and a round of the thread pool cost, in cycles (a few microseconds), for the choice of GEMM's grid.
constexpr double kTaskCycles = 2000;
constexpr double kForkCycles = 20000;

// Work below which another task costs more than it saves: waking a thread takes some microseconds, about this many float operations of
// a vectorised elementwise kernel.
constexpr int64_t kTaskElements = 16384;

}  // namespace tilegrad::TILEGRAD_TARGET
