// Arithmetic on sizes and indices.
#pragma once
#include <stdint.h>

namespace tilegrad::TILEGRAD_TARGET {

inline int64_t minOf(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t maxOf(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace tilegrad::TILEGRAD_TARGET
