// Every blocking constant of GEMM and every grain of the threaded kernels, in one place. Sizes are in floats unless they say bytes.
// They depend on the target and on nothing at run time: blocking fixes the order of summation, so results may not depend on the machine's load.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

// Register tile of GEMM, rows × vectors. An FMA has 4 cycles of latency and two ports, so 8 independent accumulators are the least; more share
// each load among more multiply-adds. 32 registers hold 14 × 2 accumulators, 2 vectors of b, and the rows' scalars come from memory inside the FMA.
// 16 registers hold 6 × 2 (with FMA); without FMA the product needs a register of its own, and 4 × 2 is the largest tile that does not spill.
#if defined(__AVX512F__)
constexpr int kGemmRows = 14;
constexpr int kGemmVectors = 2;
#elif defined(__AVX2__)
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

// Blocking (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008): a k × kGemmColumns panel of b stays in L1 (32 KiB at
// most) while the panels of a, kGemmBlockM × kGemmBlockK in all (≤ 256 KiB, L2), pass by; kGemmBlockK × kGemmBlockN of b (≤ 1.5 MiB) fill the rest of a
// worker's scratch.
constexpr int64_t kGemmBlockK = 256;
constexpr int64_t kGemmBlockM = 252;  // a multiple of every kGemmRows above but 8
constexpr int64_t kGemmBlockN = 1536;

// Up to this many rows (or columns) GEMM reads the other operand in place instead of packing it (gemm-thin-inl.h).
constexpr int64_t kGemmThin = 4;

// Up to this many rows GEMM reads a b that needs no transposing in place: each packed float would be used too few times.
constexpr int64_t kGemmInPlaceRows = 2 * kGemmRows;

// What a task and a round of the thread pool cost, in cycles (a few microseconds), for the choice of GEMM's grid.
constexpr double kTaskCycles = 2000;
constexpr double kForkCycles = 20000;

// Work below which another task costs more than it saves: waking a thread takes some microseconds, about this many float operations of
// a vectorised elementwise kernel.
constexpr int64_t kTaskElements = 16384;

}  // namespace tilegrad::TILEGRAD_TARGET
