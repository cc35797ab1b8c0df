// Memory straight from the system, for the caching allocator in src/allocator.ts. Small blocks come from the heap; big ones are mapped, so that giving them
// back shrinks the process.
#pragma once
#include <stdlib.h>
#include <sys/mman.h>

namespace tilegrad {

constexpr size_t kMapFrom = size_t(1) << 20;
constexpr size_t kHugePage = size_t(2) << 20;

inline char* systemReserve(size_t bytes) {
  if (bytes < kMapFrom) return static_cast<char*>(aligned_alloc(64, (bytes + 63) & ~size_t(63)));
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= 2 * kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return static_cast<char*>(memory);
}

inline void systemRelease(void* memory, size_t bytes) {
  if (bytes < kMapFrom) {
    free(memory);
  } else {
    munmap(memory, bytes);
  }
}

}  // namespace tilegrad
