// Reads a BlockMask (packages/tensor/src/block-mask.ts): which tiles of the score matrix are visited, and which pairs of a partial tile are visible.
// Lists are searched, never walked from the start: a search costs O(log tiles of a row), some 20 ns beside the 100 µs of a tile.
#pragma once
#include "engine.h"
#include "schedule-inl.h"
#include "simd-inl.h"

namespace tilegrad::TILEGRAD_TARGET {

struct BlockMask {
  static constexpr int32_t kFullTile = -1;
  static constexpr int32_t kAbsentTile = -2;

  bool given;
  int64_t batchSize, nHeads, nMBlocks, nNBlocks, blockM, blockN, tiles;
  const int32_t *kvOffsets, *kvBlocks, *kvBits, *qOffsets, *qBlocks, *bits;

  // Arguments: address of kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks and bits one behind the other (0: no mask); batchSize, nHeads, nMBlocks, nNBlocks, blockM, blockN, tiles.
  explicit BlockMask(Reader& args) {
    kvOffsets = args.ptr<int32_t>();
    given = kvOffsets != nullptr;
    batchSize = args.i64(), nHeads = args.i64(), nMBlocks = args.i64(), nNBlocks = args.i64();
    blockM = args.i64(), blockN = args.i64(), tiles = args.i64();
    kvBlocks = kvOffsets + batchSize * nHeads * nMBlocks + 1;
    kvBits = kvBlocks + tiles;
    qOffsets = kvBits + tiles;
    qBlocks = qOffsets + batchSize * nHeads * nNBlocks + 1;
    bits = qBlocks + tiles;
  }

  int64_t headOf(int64_t b, int64_t h) const { return (batchSize == 1 ? 0 : b) * nHeads + (nHeads == 1 ? 0 : h); }

  // Index of the first element of the ascending list [begin, end) that is ≥ value; end if there is none.
  static int64_t lowerBound(const int32_t* list, int64_t begin, int64_t end, int64_t value) {
    while (begin < end) {
      const int64_t middle = (begin + end) / 2;
      if (list[middle] < value) begin = middle + 1;
      else end = middle;
    }
    return begin;
  }

  // First key ≥ key in a tile that query i's tile row visits; kFar if there is none.
  int64_t nextKey(int64_t b, int64_t h, int64_t i, int64_t key) const {
    const int64_t row = headOf(b, h) * nMBlocks + i / blockM;
    const int64_t t = lowerBound(kvBlocks, kvOffsets[row], kvOffsets[row + 1], key / blockN);
    return t == kvOffsets[row + 1] ? kFar : maxOf(key, kvBlocks[t] * blockN);
  }

  // Where the run of visited tiles that `key` lies in ends, or limit.
  int64_t runEnd(int64_t b, int64_t h, int64_t i, int64_t key, int64_t limit) const {
    int64_t end = key;
    while (end < limit && tile(b, h, i, end) != kAbsentTile) end = (end / blockN + 1) * blockN;
    return minOf(end, limit);
  }

  // First query ≥ query in a tile row that visits some of the keys [keyBegin, keyEnd); kFar if there is none.
  int64_t nextQuery(int64_t b, int64_t h, int64_t keyBegin, int64_t keyEnd, int64_t query) const {
    int64_t next = kFar;
    for (int64_t nBlock = keyBegin / blockN; nBlock * blockN < keyEnd; nBlock++) {
      const int64_t column = headOf(b, h) * nNBlocks + nBlock;
      const int64_t t = lowerBound(qBlocks, qOffsets[column], qOffsets[column + 1], query / blockM);
      if (t < qOffsets[column + 1]) next = minOf(next, maxOf(query, qBlocks[t] * blockM));
    }
    return next;
  }

  // kFullTile, kAbsentTile or the number of the bit mask of the tile of query i and key.
  int32_t tile(int64_t b, int64_t h, int64_t i, int64_t key) const {
    const int64_t row = headOf(b, h) * nMBlocks + i / blockM, nBlock = key / blockN;
    const int64_t t = lowerBound(kvBlocks, kvOffsets[row], kvOffsets[row + 1], nBlock);
    return t < kvOffsets[row + 1] && kvBlocks[t] == nBlock ? kvBits[t] : kAbsentTile;
  }

  // Whether query i's tile row has nothing but full tiles over keys [keyBegin, keyEnd).
  bool full(int64_t b, int64_t h, int64_t i, int64_t keyBegin, int64_t keyEnd) const {
    for (int64_t key = keyBegin; key < keyEnd; key = (key / blockN + 1) * blockN) {
      if (tile(b, h, i, key) != kFullTile) return false;
    }
    return true;
  }

  // As maskRow (mask-inl.h): what of row [0, keyEnd − keyBegin) query i may not see becomes `hidden`. keyBegin and keyEnd are multiples of kLanes.
  void maskRow(int64_t b, int64_t h, int64_t i, int64_t keyBegin, int64_t keyEnd, float* row, float hidden) const {
    for (int64_t key = keyBegin, end; key < keyEnd; key = end) {
      end = minOf(keyEnd, (key / blockN + 1) * blockN);
      const int32_t mask = tile(b, h, i, key);
      if (mask == kFullTile) continue;
      const int32_t* words = bits + (mask * blockM + i % blockM) * (blockN / 32);
      for (int64_t j = key; j < end; j += kLanes) {
        float* at = row + (j - keyBegin);
        // The lanes of a vector are neighbouring bits of one word.
        const int32_t word = mask == kAbsentTile ? 0 : words[j % blockN / 32] >> (j % 32);
        const VI visible = (VI)((splatInt(word) & (splatInt(1) << iota())) != splatInt(0));
        store(at, select(visible, load(at), splat(hidden)));
      }
    }
  }
};

}  // namespace tilegrad::TILEGRAD_TARGET
