// Whole blocks of memory: copies for reads and uploads, zeros.

namespace tilegrad::TILEGRAD_TARGET {

constexpr int64_t kMemoryChunk = int64_t(1) << 20;

template <class F>
void forMemoryChunks(Context& ctx, int64_t bytes, F&& body) {
  parallelFor(ctx.pool, (bytes + kMemoryChunk - 1) / kMemoryChunk, [&](int64_t chunk, int) {
    const int64_t from = chunk * kMemoryChunk;
    body(from, size_t(bytes - from < kMemoryChunk ? bytes - from : kMemoryChunk));
  });
}

// to, from, bytes
void memory_copy(Reader& args, Context& ctx) {
  char* to = args.ptr<char>();
  const char* from = args.ptr<char>();
  forMemoryChunks(ctx, args.i64(), [&](int64_t offset, size_t bytes) { memcpy(to + offset, from + offset, bytes); });
}

// to, bytes: all zeros
void memory_zero(Reader& args, Context& ctx) {
  char* to = args.ptr<char>();
  forMemoryChunks(ctx, args.i64(), [&](int64_t offset, size_t bytes) { memset(to + offset, 0, bytes); });
}

}  // namespace tilegrad::TILEGRAD_TARGET
