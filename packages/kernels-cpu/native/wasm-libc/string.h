// The three functions of a C library that kernels use. The compiler turns them into instructions (bulk memory).
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t bytes);
void* memmove(void* to, const void* from, size_t bytes);
void* memset(void* to, int value, size_t bytes);
#ifdef __cplusplus
}
#endif
