// Conversion between element types: memory speed.
#pragma once
#include "half-inl.h"
#include "parallel-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

template <class From, class To>
void castElements(const void* from, void* to, int64_t rows, int64_t columns, int64_t stride, Context& ctx) {
  const auto* source = static_cast<const typename From::Storage*>(from);
  auto* target = static_cast<typename To::Storage*>(to);
  parallelElements(ctx, rows, columns, stride == columns, [&](int64_t row, int64_t begin, int64_t end) {
    const auto* __restrict__ s = source + row * stride;
    auto* __restrict__ t = target + row * columns;
    for (int64_t i = begin; i < end; i++) t[i] = To::encode(From::decode(s[i]));
  });
}

template <class From>
void castFrom(const void* from, void* to, int64_t rows, int64_t columns, int64_t stride, int64_t toType, Context& ctx) {
  switch (toType) {
    case 0: return castElements<From, Float32>(from, to, rows, columns, stride, ctx);
    case 1: return castElements<From, Float16>(from, to, rows, columns, stride, ctx);
    default: return castElements<From, BFloat16>(from, to, rows, columns, stride, ctx);
  }
}

// Types: 0 f32, 1 f16, 2 bf16. Arguments: from, to, fromType, toType, rows, columns, fromStride. `to` is contiguous.
inline void cast(Reader& args, Context& ctx) {
  const char* from = args.ptr<char>();
  char* to = args.ptr<char>();
  const int64_t fromType = args.i64(), toType = args.i64(), rows = args.i64(), columns = args.i64(), stride = args.i64();
  switch (fromType) {
    case 0: return castFrom<Float32>(from, to, rows, columns, stride, toType, ctx);
    case 1: return castFrom<Float16>(from, to, rows, columns, stride, toType, ctx);
    default: return castFrom<BFloat16>(from, to, rows, columns, stride, toType, ctx);
  }
}

}  // namespace tilegrad::TILEGRAD_TARGET
