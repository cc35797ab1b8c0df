// Every blocking constant of GEMM and every grain of the threaded kernels, in one place. Sizes are in floats unless they say bytes.
// They depend on the target and on nothing at run time: blocking fixes the order of summation, so results may not depend on the machine's load.
#pragma once
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

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
