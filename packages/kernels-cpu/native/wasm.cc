// The WebAssembly module: the same command queue, pool and kernels as the addon, without a C library. Built four times: with threads
// on shared memory, and without for pages that may not share memory; and each with relaxed SIMD for the engines that have it. src/wasm.ts holds the other end and the allocator.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "commands.h"
#include "engine.h"
#include "thread-pool.h"

inline void* operator new(size_t, void* place) noexcept { return place; }

extern "C" {

// Without bulk-memory instructions for a size known only at run time the compiler calls these; with them they are one instruction.
void* memcpy(void* to, const void* from, size_t bytes) { return __builtin_memcpy(to, from, bytes); }
void* memmove(void* to, const void* from, size_t bytes) { return __builtin_memmove(to, from, bytes); }
void* memset(void* to, int value, size_t bytes) { return __builtin_memset(to, value, bytes); }
[[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }

__attribute__((import_module("env"), import_name("fence"))) void hostFence(double id);
__attribute__((import_module("env"), import_name("milliseconds"))) double hostMilliseconds();
}

#define TILEGRAD_EXPORT(name) extern "C" __attribute__((export_name(name)))

namespace tilegrad {

const KernelTable* kernelTable_wasm();

namespace {

class WasmHost final : public Host {
 public:
  void fence(double id) override { hostFence(id); }
  // Linear memory does not shrink: src/wasm-heap.ts hands it out again.
  void release(void*, size_t) override {}
  double milliseconds() override { return hostMilliseconds(); }
};

struct Engine {
  WasmHost host;
  ThreadPool pool;
  Executor executor;

  Engine(CommandControl& control, char* scratch, int threads)
      : pool(threads), executor(control, *kernelTable_wasm(), Context{pool, scratch}, host) {}
};

alignas(Engine) char place[sizeof(Engine)];
Engine* engine = nullptr;

}  // namespace

TILEGRAD_EXPORT("kernel_count") int kernelCount() { return kernelTable_wasm()->count; }
TILEGRAD_EXPORT("kernel_name") const char* kernelName(int index) { return kernelTable_wasm()->entries[index].name; }
TILEGRAD_EXPORT("lanes") int lanes() { return kernelTable_wasm()->lanes; }
TILEGRAD_EXPORT("scratch_bytes") size_t scratchBytes() { return kScratchBytes; }

// Once, before anything runs.
TILEGRAD_EXPORT("init") void init(void* control, char* scratch, int threads) {
  engine = new (place) Engine(*static_cast<CommandControl*>(control), scratch, threads);
}
// The life of a worker; worker 0 is the executor.
TILEGRAD_EXPORT("work") void work(int worker) {
  if (worker == 0) {
    engine->executor.loop();
    engine->pool.stop();
  } else {
    engine->pool.work(worker);
  }
}
// Runs what is in the ring, in the caller's thread.
TILEGRAD_EXPORT("drain") void drain() { engine->executor.drain(); }

}  // namespace tilegrad
