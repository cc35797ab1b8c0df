// What a kernel is given to run with. Nothing here depends on an instruction set, on Node or on WebAssembly:
// the native addon and the WASM module link the same kernels against their own Pool.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace tilegrad {

// Threads that run the tasks of one kernel at a time. Tasks are claimed in ascending order, one by one, so that a task may
// wait for an earlier one without deadlock: whatever was claimed before it is finished or running.
class Pool {
 public:
  using Task = void (*)(void* context, int64_t task, int worker);
  virtual int threads() const = 0;
  // Runs tasks 0..count-1 and returns when all are done. `worker` is in 0..threads()-1. Called from one thread only.
  virtual void run(int64_t count, Task task, void* context) = 0;
  // Gives the core away for a moment while a task waits for an earlier one.
  virtual void yield() = 0;

 protected:
  ~Pool() = default;
};

template <class F>
inline void parallelFor(Pool& pool, int64_t count, F&& body) {
  if (count == 1 || pool.threads() == 1) {
    for (int64_t task = 0; task < count; task++) body(task, 0);
    return;
  }
  auto call = [](void* context, int64_t task, int worker) { (*static_cast<F*>(context))(task, worker); };
  pool.run(count, call, const_cast<void*>(static_cast<const void*>(&body)));
}

// Fast memory of one worker for packed panels and score tiles: fixed size, 64-byte aligned, made with the engine and counted in
// the backend's memory. A kernel that needs room that grows with its input gets a workspace tensor from TypeScript instead.
constexpr size_t kScratchBytes = size_t(2) << 20;

struct Context {
  Pool& pool;
  char* scratchBase;
  char* scratch(int worker) const { return scratchBase + size_t(worker) * kScratchBytes; }
};

// Arguments of one enqueued kernel in the order in which its TypeScript wrapper wrote them. Addresses, sizes and options all travel
// as float64: exact for integers up to 2^53, so one encoding serves 64-bit pointers and 32-bit WASM offsets.
class Reader {
 public:
  explicit Reader(const double* args) : next_(args) {}
  template <class T = float>
  T* ptr() {
    return reinterpret_cast<T*>(static_cast<uintptr_t>(*next_++));
  }
  int64_t i64() { return static_cast<int64_t>(*next_++); }
  float f32() { return static_cast<float>(*next_++); }
  double f64() { return *next_++; }
  bool flag() { return *next_++ != 0; }

 private:
  const double* next_;
};

using Kernel = void (*)(Reader& args, Context& ctx);

struct KernelEntry {
  const char* name;
  Kernel run;
};

// One table per instruction set (kernels-target.cc); the engine picks one at start by cpuid.
struct KernelTable {
  const char* isa;
  int lanes;  // float32 lanes of a vector
  int count;
  const KernelEntry* entries;
};

}  // namespace tilegrad
