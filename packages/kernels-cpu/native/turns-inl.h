// Additions of several tasks to one place in a fixed order: a counter says whose turn it is. Only a task that was claimed earlier may be waited for (engine.h, Pool).
#pragma once
#include "engine.h"

namespace tilegrad::TILEGRAD_TARGET {

inline void awaitTurn(const int32_t* turn, int32_t mine, Pool& pool) {
  for (int spins = 0; __atomic_load_n(turn, __ATOMIC_ACQUIRE) != mine; spins++) {
    if (spins > 200) pool.yield();
  }
}
inline void passTurn(int32_t* turn, int32_t next) { __atomic_store_n(turn, next, __ATOMIC_RELEASE); }

}  // namespace tilegrad::TILEGRAD_TARGET
