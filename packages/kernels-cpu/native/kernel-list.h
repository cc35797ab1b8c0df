// Every kernel of the engine: X(function name). TypeScript looks kernels up by these names, so their order is free.
#define TILEGRAD_KERNELS(X) \
  X(attention_forward)      \
  X(attention_backward)
