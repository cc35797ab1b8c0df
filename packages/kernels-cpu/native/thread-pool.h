// The Pool of the native addon and of the WASM module with threads. Worker 0 is the thread that calls run(), the executor of the
// command queue; workers 1.. are threads that the host starts and that stay in work() until stop().
#pragma once
#include "engine.h"
#include "wait.h"

namespace tilegrad {

class ThreadPool final : public Pool {
 public:
  explicit ThreadPool(int threads) : threads_(threads) {}

  int threads() const override { return threads_; }

  void run(int64_t count, Task task, void* context) override {
    if (count <= 0) return;
    // Task numbers of one job travel in 32 bits beside the job's number.
    for (int64_t first = 0; first < count; first += kMaxTasks) {
      runJob(first, uint32_t(count - first < kMaxTasks ? count - first : kMaxTasks), task, context);
    }
  }

  void yield() override { giveWay(); }

  // The life of worker 1, 2, …
  void work(int worker) {
    uint32_t seen = 0;
    for (;;) {
      awaitChange(&job_, seen, &sleepingWorkers_);
      seen = __atomic_load_n(&job_, __ATOMIC_ACQUIRE);
      if (__atomic_load_n(&stopped_, __ATOMIC_ACQUIRE)) return;
      runTasks(seen, worker);
    }
  }

  // Lets every worker return from work(). Not while run() is on.
  void stop() {
    __atomic_store_n(&stopped_, 1, __ATOMIC_SEQ_CST);
    changeAndWake(&job_, job_ + 1, &sleepingWorkers_);
  }

 private:
  static constexpr int64_t kMaxTasks = int64_t(1) << 31;
  static constexpr uint32_t kClosed = 0xffffffffu;

  void runJob(int64_t first, uint32_t count, Task task, void* context) {
    // 1. describe the job. Claims are closed meanwhile: a late worker of the last job that reads one of the new fields (release, acquire)
    // also sees that there is nothing to claim.
    __atomic_store_n(&claim_, uint64_t(job_) << 32 | kClosed, __ATOMIC_RELAXED);
    __atomic_store_n(&first_, first, __ATOMIC_RELEASE);
    __atomic_store_n(&count_, count, __ATOMIC_RELEASE);
    __atomic_store_n(&task_, task, __ATOMIC_RELEASE);
    __atomic_store_n(&context_, context, __ATOMIC_RELEASE);
    __atomic_store_n(&done_, 0, __ATOMIC_RELEASE);
    // 2. open it for claims, then tell the workers
    const uint32_t job = job_ + 1;
    __atomic_store_n(&claim_, uint64_t(job) << 32, __ATOMIC_RELEASE);
    changeAndWake(&job_, job, &sleepingWorkers_);
    // 3. take part, then wait for the tasks that others still run; workers that have not woken up by now are not waited for
    runTasks(job, 0);
    for (uint32_t done; (done = __atomic_load_n(&done_, __ATOMIC_ACQUIRE)) != count;) awaitChange(&done_, done, &executorSleeping_);
  }

  // Claims and runs tasks of `job` until none is left. The claim is one word of job and task number, so that a late worker can
  // never take a task of another job with this job's fields.
  void runTasks(uint32_t job, int worker) {
    const int64_t first = __atomic_load_n(&first_, __ATOMIC_ACQUIRE);
    const uint32_t count = __atomic_load_n(&count_, __ATOMIC_ACQUIRE);
    const Task task = __atomic_load_n(&task_, __ATOMIC_ACQUIRE);
    void* const context = __atomic_load_n(&context_, __ATOMIC_ACQUIRE);
    uint64_t claim = __atomic_load_n(&claim_, __ATOMIC_ACQUIRE);
    for (;;) {
      if (uint32_t(claim >> 32) != job || uint32_t(claim) >= count) return;
      if (!__atomic_compare_exchange_n(&claim_, &claim, claim + 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) continue;
      task(context, first + uint32_t(claim), worker);
      __atomic_fetch_add(&done_, 1, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&executorSleeping_, __ATOMIC_SEQ_CST) != 0) wakeAll(&done_);
      claim = __atomic_load_n(&claim_, __ATOMIC_ACQUIRE);
    }
  }

  const int threads_;
  uint32_t stopped_ = 0;
  // What workers wait for and what they write, on cache lines of their own.
  alignas(64) uint32_t job_ = 0;
  uint32_t sleepingWorkers_ = 0;
  alignas(64) uint64_t claim_ = 0;
  alignas(64) uint32_t done_ = 0;
  uint32_t executorSleeping_ = 0;
  alignas(64) int64_t first_ = 0;
  uint32_t count_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace tilegrad
