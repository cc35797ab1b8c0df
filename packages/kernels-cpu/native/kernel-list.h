// Every kernel of the engine: X(function name). TypeScript looks kernels up by these names, so their order is free.
#define TILEGRAD_KERNELS(X)        \
  X(memory_copy)                   \
  X(memory_zero)                   \
  X(fma_peak)                      \
  X(attention_forward)             \
  X(attention_decode)              \
  X(attention_backward)            \
  X(attention_rows)                \
  X(attention_column_sums)         \
  X(attention_top_k)               \
  X(gemm)                          \
  X(sum_rows)                      \
  X(layer_norm_forward)            \
  X(layer_norm_backward)           \
  X(rms_norm_forward)              \
  X(rms_norm_backward)             \
  X(softmax_forward)               \
  X(softmax_backward)              \
  X(gelu_forward)                  \
  X(gelu_backward)                 \
  X(swiglu_forward)                \
  X(swiglu_backward)               \
  X(embedding_forward)             \
  X(embedding_backward)            \
  X(rope)                          \
  X(cross_entropy_forward)         \
  X(cross_entropy_backward)        \
  X(linear_cross_entropy_forward)  \
  X(linear_cross_entropy_backward) \
  X(add)                           \
  X(scale)                         \
  X(copy)                          \
  X(cast)                          \
  X(adamw_step)                    \
  X(sum_squares)                   \
  X(simd_check)
