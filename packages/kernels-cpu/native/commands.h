// The in-order command queue: TypeScript writes commands into a ring of float64 (src/command-ring.ts), one executor runs them.
// The ring and its control words are plain memory that both sides see, so that enqueueing a kernel is a few stores and, only if the
// executor sleeps, one wake-up.
#pragma once
#include "engine.h"
#include "wait.h"

namespace tilegrad {

constexpr int kProfileSlots = 128;
constexpr uint32_t kRingLength = 1u << 16;  // float64 elements, a power of two

// Mirrored in src/command-ring.ts. Words of the two sides lie on cache lines of their own.
struct CommandControl {
  // Written by TypeScript.
  alignas(64) uint32_t tail;  // elements written so far, modulo 2^32
  uint32_t stop;              // 1: run nothing more
  uint32_t profiling;         // 1: measure
  // Written by the executor.
  alignas(64) uint32_t head;  // elements consumed so far, modulo 2^32
  uint32_t completed;         // commands completed so far, modulo 2^32
  uint32_t sleeping;          // not 0: wake the executor after moving `tail`
  struct Profile {
    double calls;
    double milliseconds;
  };
  alignas(64) Profile profile[kProfileSlots];  // the first are those of the kernels
  alignas(64) double ring[kRingLength];
};

// A command is its operation, its length in elements with these two, and its arguments; it never wraps around the end of the ring.
enum Operation : int {
  kWrap = -1,     // go on at the start of the ring
  kFence = -2,    // id: tell TypeScript that everything before is done
  kRelease = -3,  // address, bytes: give memory back to the system
  kTell = -4,     // id: like kFence, and not counted, for the ring's own use
  kMeasure = -5,  // slot: where in the profile the time of the next kernel goes
  // 0 and up: the kernel of that index
};

// What the executor needs from the world around it.
class Host {
 public:
  virtual void fence(double id) = 0;
  virtual void release(void* memory, size_t bytes) = 0;
  virtual double milliseconds() = 0;

 protected:
  ~Host() = default;
};

class Executor {
 public:
  Executor(CommandControl& control, const KernelTable& table, Context context, Host& host)
      : control_(control), table_(table), context_(context), host_(host) {}

  // Runs what is in the ring. For hosts without a thread for it.
  void drain() {
    const uint32_t tail = __atomic_load_n(&control_.tail, __ATOMIC_ACQUIRE);
    while (head_ != tail && !stopped()) runNext();
  }

  // The life of the executor's thread, until TypeScript sets `stop`.
  void loop() {
    while (!stopped()) {
      drain();
      awaitCommands();
    }
  }

 private:
  bool stopped() const { return __atomic_load_n(&control_.stop, __ATOMIC_ACQUIRE) != 0; }

  // Like awaitChange, with two words to watch: `stop` is set with a move of `tail`.
  void awaitCommands() { awaitChange(&control_.tail, head_, &control_.sleeping); }

  void runNext() {
    const double* command = &control_.ring[head_ & (kRingLength - 1)];
    const int operation = int(command[0]);
    if (operation == kWrap) {
      consume(kRingLength - (head_ & (kRingLength - 1)));
      return;
    }
    const uint32_t length = uint32_t(command[1]);
    Reader args(command + 2);
    if (operation >= 0) {
      runKernel(operation, args);
    } else if (operation == kRelease) {
      char* memory = args.ptr<char>();
      host_.release(memory, size_t(args.i64()));
    } else if (operation == kMeasure) {
      slot_ = int(args.i64());
    }
    // Counted before the fence is told: who hears of it finds the queue idle.
    const bool fence = operation == kFence || operation == kTell;
    const double fenceId = command[2];
    if (operation != kTell) __atomic_store_n(&control_.completed, control_.completed + 1, __ATOMIC_RELEASE);
    consume(length);
    if (fence) host_.fence(fenceId);
  }

  void runKernel(int index, Reader& args) {
    if (!__atomic_load_n(&control_.profiling, __ATOMIC_RELAXED)) {
      table_.entries[index].run(args, context_);
      return;
    }
    CommandControl::Profile& profile = control_.profile[slot_ < 0 ? index : slot_];
    slot_ = -1;
    const double start = host_.milliseconds();
    table_.entries[index].run(args, context_);
    profile.calls += 1;
    profile.milliseconds += host_.milliseconds() - start;
  }

  void consume(uint32_t length) {
    head_ += length;
    __atomic_store_n(&control_.head, head_, __ATOMIC_RELEASE);
  }

  CommandControl& control_;
  const KernelTable& table_;
  Context context_;
  Host& host_;
  uint32_t head_ = 0;
  int slot_ = -1;  // of the next kernel's time, unless it is the kernel's own
};

}  // namespace tilegrad
