// Sleeping until another thread changes a 32-bit word, and being woken: a futex where the system has one.
#pragma once
#include <stdint.h>

#if !defined(__wasm__)
#include <sched.h>
#endif
#if defined(__wasm__)
#elif defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace tilegrad {

#if defined(__wasm_atomics__)

inline void waitWhile(uint32_t* word, uint32_t value) {
  __builtin_wasm_memory_atomic_wait32(reinterpret_cast<int32_t*>(word), int32_t(value), -1);
}
inline void wakeAll(uint32_t* word) { __builtin_wasm_memory_atomic_notify(reinterpret_cast<int32_t*>(word), 0xffffffffu); }

#elif defined(__wasm__)

inline void waitWhile(uint32_t*, uint32_t) {}
inline void wakeAll(uint32_t*) {}

#elif defined(__linux__)

inline void waitWhile(uint32_t* word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0); }
inline void wakeAll(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0); }

#else

// One lock for all words: sleeping is rare, since threads spin first.
struct Sleepers {
  std::mutex mutex;
  std::condition_variable woken;
};
inline Sleepers sleepers;
inline void waitWhile(uint32_t* word, uint32_t value) {
  std::unique_lock<std::mutex> lock(sleepers.mutex);
  if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) sleepers.woken.wait(lock);
}
inline void wakeAll(uint32_t*) {
  std::lock_guard<std::mutex> lock(sleepers.mutex);
  sleepers.woken.notify_all();
}

#endif

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Lets another thread have the core.
inline void giveWay() {
#if defined(__wasm_atomics__)
  // WASM has no yield: nobody ever wakes this word, so that this is a sleep of 20 µs.
  static int32_t nobody = 0;
  __builtin_wasm_memory_atomic_wait32(&nobody, 0, 20000);
#elif !defined(__wasm__)
  sched_yield();
#endif
}

// Rounds of `pause` that a thread waits before it sleeps: about 20 to 50 µs, what the gap between two kernels of one command queue takes.
// A longer gap means that JavaScript is busy with something else, and then nobody should burn its core.
#if defined(__x86_64__)
constexpr int kSpins = 1000;
#else
constexpr int kSpins = 10000;
#endif

// Spins, then sleeps, until *word is no longer `value`. `sleeping` counts who is or is about to be asleep: whoever changes *word reads it
// afterwards and wakes if it is not 0. Both sides are sequentially consistent, so that one of them sees the other.
inline void awaitChange(uint32_t* word, uint32_t value, uint32_t* sleeping) {
  for (int i = 0; i < kSpins; i++) {
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value) return;
    pause();
  }
  __atomic_fetch_add(sleeping, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) waitWhile(word, value);
  __atomic_fetch_sub(sleeping, 1, __ATOMIC_SEQ_CST);
}

// Publishes a new value of *word to those in awaitChange.
inline void changeAndWake(uint32_t* word, uint32_t value, uint32_t* sleeping) {
  __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(sleeping, __ATOMIC_SEQ_CST) != 0) wakeAll(word);
}

}  // namespace tilegrad
