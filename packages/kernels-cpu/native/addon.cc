// The native addon: the instruction sets this processor runs, and an Engine of one executor thread, its pool and its memory.
#include <napi.h>

#include <chrono>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "commands.h"
#include "engine.h"
#include "system-memory.h"
#include "thread-pool.h"

namespace tilegrad {

#define TILEGRAD_DECLARE_TABLE(target) const KernelTable* kernelTable_##target();
#if defined(__x86_64__)
TILEGRAD_DECLARE_TABLE(avx512)
TILEGRAD_DECLARE_TABLE(avx2)
TILEGRAD_DECLARE_TABLE(baseline)
#elif defined(__aarch64__)
TILEGRAD_DECLARE_TABLE(neon)
#else
TILEGRAD_DECLARE_TABLE(baseline)
#endif

namespace {

// Kernel tables that this processor and operating system can run, best first. __builtin_cpu_supports also asks whether the system
// saves the wide registers (XCR0).
std::vector<const KernelTable*> supportedTables() {
  std::vector<const KernelTable*> tables;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    tables.push_back(kernelTable_avx512());
  }
  if (fma) tables.push_back(kernelTable_avx2());
  tables.push_back(kernelTable_baseline());
#elif defined(__aarch64__)
  tables.push_back(kernelTable_neon());
#else
  tables.push_back(kernelTable_baseline());
#endif
  return tables;
}

const KernelTable* findTable(const std::string& isa) {
  for (const KernelTable* table : supportedTables()) {
    if (isa == table->isa) return table;
  }
  return nullptr;
}

constexpr double kStoppedId = -1;  // told through the fence callback when the executor has ended

void callFence(Napi::Env env, Napi::Function callback, std::nullptr_t*, double* id) {
  if (env != nullptr && callback != nullptr) callback.Call({Napi::Number::New(env, *id)});
  delete id;
}

class Engine final : public Napi::ObjectWrap<Engine>, private Host {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {
                           InstanceMethod<&Engine::wake>("wake"),
                           InstanceMethod<&Engine::reserve>("reserve"),
                           InstanceMethod<&Engine::write>("write"),
                           InstanceMethod<&Engine::read>("read"),
                           InstanceMethod<&Engine::addressOf>("addressOf"),
                           InstanceMethod<&Engine::waitUntilIdle>("waitUntilIdle"),
                           InstanceMethod<&Engine::ref>("ref"),
                           InstanceMethod<&Engine::unref>("unref"),
                           InstanceMethod<&Engine::close>("close"),
                       });
  }

  // (isa: string, threads: number, control: ArrayBuffer, onFence: (id: number) => void)
  explicit Engine(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Engine>(info), env_(info.Env()) {
    const KernelTable* table = findTable(info[0].As<Napi::String>());
    const int threads = info[1].As<Napi::Number>().Int32Value();
    Napi::ArrayBuffer control = info[2].As<Napi::ArrayBuffer>();
    if (table == nullptr || threads < 1 || control.ByteLength() < sizeof(CommandControl) + alignof(CommandControl)) {
      Napi::TypeError::New(env_, "Engine: unknown instruction set, no threads or too small a control buffer").ThrowAsJavaScriptException();
      return;
    }
    controlBuffer_ = Napi::Persistent(control);
    char* base = static_cast<char*>(control.Data());
    controlOffset_ = (alignof(CommandControl) - reinterpret_cast<uintptr_t>(base) % alignof(CommandControl)) % alignof(CommandControl);
    control_ = reinterpret_cast<CommandControl*>(base + controlOffset_);
    info.This().As<Napi::Object>().Set("controlOffset", Napi::Number::New(env_, double(controlOffset_)));

    scratchBytes_ = kScratchBytes * size_t(threads);
    scratch_ = systemReserve(scratchBytes_);
    if (scratch_ == nullptr) {
      Napi::Error::New(env_, "Engine: no memory for scratch").ThrowAsJavaScriptException();
      return;
    }
    fences_ = Fences::New(env_, info[3].As<Napi::Function>(), "tilegrad fences", 0, 1, static_cast<std::nullptr_t*>(nullptr));
    fences_.Unref(env_);
    pool_ = new ThreadPool(threads);
    for (int worker = 1; worker < threads; worker++) workers_.emplace_back([this, worker] { pool_->work(worker); });
    executor_ = std::thread([this, table] {
      Executor executor(*control_, *table, Context{*pool_, scratch_}, *this);
      executor.loop();
      pool_->stop();
      fence(kStoppedId);
    });
    // Node ends an environment without collecting its objects: threads must be gone before their memory is.
    napi_add_env_cleanup_hook(env_, joinAtExit, this);
    started_ = true;
  }

  ~Engine() {
    if (!started_) return;
    napi_remove_env_cleanup_hook(env_, joinAtExit, this);
    join();
  }

 private:
  using Fences = Napi::TypedThreadSafeFunction<std::nullptr_t, double, callFence>;

  static void joinAtExit(void* engine) { static_cast<Engine*>(engine)->join(); }

  // Host: called by the executor.
  void fence(double id) override { fences_.NonBlockingCall(new double(id)); }
  void release(void* memory, size_t bytes) override {
    {
      std::lock_guard<std::mutex> lock(blocksMutex_);
      blocks_.erase(memory);
    }
    systemRelease(memory, bytes);
  }
  double milliseconds() override {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }

  void wake(const Napi::CallbackInfo&) { wakeAll(&control_->tail); }

  Napi::Value reserve(const Napi::CallbackInfo& info) {
    const size_t bytes = size_t(info[0].As<Napi::Number>().DoubleValue());
    char* memory = systemReserve(bytes);
    if (memory != nullptr) {
      std::lock_guard<std::mutex> lock(blocksMutex_);
      blocks_[memory] = bytes;
    }
    return Napi::Number::New(info.Env(), double(reinterpret_cast<uintptr_t>(memory)));
  }

  void write(const Napi::CallbackInfo& info) {
    Napi::Uint8Array from = info[1].As<Napi::Uint8Array>();
    memcpy(pointer(info[0]), from.Data(), from.ByteLength());
  }

  void read(const Napi::CallbackInfo& info) {
    Napi::Uint8Array to = info[1].As<Napi::Uint8Array>();
    memcpy(to.Data(), pointer(info[0]), to.ByteLength());
  }

  // Where the elements of an array lie: the caller keeps the array alive while commands use the address.
  Napi::Value addressOf(const Napi::CallbackInfo& info) {
    Napi::Uint8Array array = info[0].As<Napi::Uint8Array>();
    return Napi::Number::New(info.Env(), double(reinterpret_cast<uintptr_t>(array.Data())));
  }

  // Blocks the caller: for the rare allocation that fails while memory waits in the queue to be released.
  void waitUntilIdle(const Napi::CallbackInfo&) {
    for (uint32_t head; (head = __atomic_load_n(&control_->head, __ATOMIC_ACQUIRE)) != control_->tail;) std::this_thread::yield();
  }

  void ref(const Napi::CallbackInfo& info) { fences_.Ref(info.Env()); }
  void unref(const Napi::CallbackInfo& info) { fences_.Unref(info.Env()); }

  // Joins the threads; immediate after the callback with kStoppedId.
  void close(const Napi::CallbackInfo&) { join(); }

  void join() {
    if (joined_) return;
    joined_ = true;
    __atomic_store_n(&control_->stop, 1, __ATOMIC_SEQ_CST);
    changeAndWake(&control_->tail, control_->tail + 1, &control_->sleeping);
    executor_.join();
    for (std::thread& worker : workers_) worker.join();
    delete pool_;
    systemRelease(scratch_, scratchBytes_);
    for (const auto& [memory, bytes] : blocks_) systemRelease(memory, bytes);
    blocks_.clear();
    fences_.Release();
    controlBuffer_.Reset();
  }

  static char* pointer(const Napi::Value& value) {
    return reinterpret_cast<char*>(static_cast<uintptr_t>(value.As<Napi::Number>().DoubleValue()));
  }

  Napi::Env env_;
  Napi::Reference<Napi::ArrayBuffer> controlBuffer_;
  size_t controlOffset_ = 0;
  CommandControl* control_ = nullptr;
  size_t scratchBytes_ = 0;
  char* scratch_ = nullptr;
  std::mutex blocksMutex_;  // reserved by Node's thread, released by the executor
  std::unordered_map<void*, size_t> blocks_;
  ThreadPool* pool_ = nullptr;
  std::vector<std::thread> workers_;
  std::thread executor_;
  Fences fences_;
  bool started_ = false;
  bool joined_ = false;
};

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Napi::Array isas = Napi::Array::New(env);
  Napi::Array kernels = Napi::Array::New(env);
  const std::vector<const KernelTable*> tables = supportedTables();
  for (const KernelTable* table : tables) {
    Napi::Object isa = Napi::Object::New(env);
    isa.Set("name", table->isa);
    isa.Set("lanes", table->lanes);
    isas.Set(isas.Length(), isa);
  }
  static_assert(sizeof(double) == 8, "commands are float64");
  for (int i = 0; i < tables[0]->count; i++) kernels.Set(uint32_t(i), Napi::String::New(env, tables[0]->entries[i].name));
  exports.Set("isas", isas);
  exports.Set("kernels", kernels);
  exports.Set("scratchBytes", double(kScratchBytes));
  exports.Set("Engine", Engine::define(env));
  return exports;
}

NODE_API_MODULE(tilegrad, init)

}  // namespace
}  // namespace tilegrad
