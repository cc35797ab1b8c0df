// All kernels for one instruction set. Compiled once per target with that target's compiler flags and -DTILEGRAD_TARGET=<name>;
// everything below lives in namespace tilegrad::<name>, so that the linker never mixes instruction sets.
#ifndef TILEGRAD_TARGET
#error "compile with -DTILEGRAD_TARGET=baseline, avx2, avx512, neon or wasm"
#endif
#include "engine.h"
#include "kernel-list.h"
#include "simd-inl.h"

#include "memory-inl.h"
#include "peak-inl.h"

#include "attention-forward-inl.h"
#include "attention-decode-inl.h"
#include "attention-backward-inl.h"
#include "attention-inspection-inl.h"

#include "adamw-inl.h"
#include "cast-inl.h"
#include "copy-inl.h"
#include "cross-entropy-inl.h"
#include "elementwise-inl.h"
#include "embedding-inl.h"
#include "gelu-inl.h"
#include "gemm-inl.h"
#include "layer-norm-inl.h"
#include "linear-cross-entropy-inl.h"
#include "rms-norm-inl.h"
#include "rope-inl.h"
#include "simd-check-inl.h"
#include "softmax-inl.h"
#include "sum-rows-inl.h"
#include "sum-squares-inl.h"
#include "swiglu-inl.h"

#define TILEGRAD_STRING_(x) #x
#define TILEGRAD_STRING(x) TILEGRAD_STRING_(x)
#define TILEGRAD_CONCAT_(a, b) a##b
#define TILEGRAD_CONCAT(a, b) TILEGRAD_CONCAT_(a, b)

namespace tilegrad {

extern const KernelTable* TILEGRAD_CONCAT(kernelTable_, TILEGRAD_TARGET)() {
  using namespace TILEGRAD_TARGET;
#define TILEGRAD_ENTRY(name) {#name, name},
  static const KernelEntry entries[] = {TILEGRAD_KERNELS(TILEGRAD_ENTRY)};
#undef TILEGRAD_ENTRY
  static const KernelTable table = {TILEGRAD_STRING(TILEGRAD_TARGET), kLanes, sizeof entries / sizeof entries[0], entries};
  return &table;
}

}  // namespace tilegrad
