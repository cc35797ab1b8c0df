// Which keys a run of queries sees, and by which queries a run of keys is seen: core-math/src/schedule.ts. Whatever is skipped is skipped because of
// what stands here. Loops over tiles have two levels: runs (the one range of the band, or the listed tiles of a block mask), and tiles in a run.

/// Integers [begin, end); empty if end ≤ begin.
struct Range {
  begin: i32,
  end: i32,
}

/// One sequence: its rows among all rows, and its band: key j is in the band of query i iff diagonalMin ≤ j − i ≤ diagonalMax.
struct Sequence {
  beginQ: i32,
  seqlenQ: i32,
  beginK: i32,
  seqlenK: i32,
  diagonalMin: i32,
  diagonalMax: i32,
}

fn sequenceOf(b: u32) -> Sequence {
  var sequence = Sequence(i32(b) * params.seqlenQ, params.seqlenQ, i32(b) * params.seqlenK, params.seqlenK, 0, 0);
  if (GENERAL && params.variableLengths == 1u) {
    sequence.beginQ = tables[b];
    sequence.seqlenQ = tables[b + 1u] - sequence.beginQ;
    sequence.beginK = tables[params.batchSize + 1u + b];
    sequence.seqlenK = tables[params.batchSize + 2u + b] - sequence.beginK;
  }
  let shift = sequence.seqlenK - sequence.seqlenQ;
  sequence.diagonalMin = shift - params.windowLeft;
  sequence.diagonalMax = shift + params.windowRight;
  if (params.causalTopLeft == 1u) {
    sequence.diagonalMax = min(0, sequence.diagonalMax);
  }
  if (sequence.diagonalMin > sequence.diagonalMax) {
    // A band of negative width hides everything.
    sequence.diagonalMin = UNLIMITED;
    sequence.diagonalMax = -UNLIMITED;
  }
  return sequence;
}

/// Keys in the band of some row of [rowBegin, rowEnd).
fn visitedKeys(sequence: Sequence, rowBegin: i32, rowEnd: i32) -> Range {
  return Range(max(0, rowBegin + sequence.diagonalMin), min(sequence.seqlenK, rowEnd + sequence.diagonalMax));
}

/// Queries with some key of [keyBegin, keyEnd) in their band.
fn visitedQueries(sequence: Sequence, keyBegin: i32, keyEnd: i32) -> Range {
  return Range(max(0, keyBegin - sequence.diagonalMax), min(sequence.seqlenQ, keyEnd - sequence.diagonalMin));
}

/// Whether every key of [keyBegin, keyEnd) is in the band of every row of [rowBegin, rowEnd), and both lie in the sequence.
fn full(sequence: Sequence, rowBegin: i32, rowEnd: i32, keyBegin: i32, keyEnd: i32) -> bool {
  return keyBegin >= rowEnd - 1 + sequence.diagonalMin && keyEnd - 1 <= rowBegin + sequence.diagonalMax &&
    keyEnd <= sequence.seqlenK && rowEnd <= sequence.seqlenQ;
}

/// Consecutive tiles of one kind: a range of keys or queries, and their bit mask, or −1 where the block mask hides nothing.
struct Run {
  begin: i32,
  end: i32,
  bits: i32,
}

/// The part of a block mask that a head of a sequence sees.
fn maskHead(b: u32, h: u32) -> i32 {
  return i32(b) * params.maskBatchStride + i32(h) * params.maskHeadStride;
}

/// Runs that a block of query rows visits, as a range of numbers for `keysOfRun`. Blocks lie within one block of the mask.
fn runsOfRows(b: u32, h: u32, rowBegin: i32) -> Range {
  if (!GENERAL || params.maskNMBlocks == 0) {
    return Range(0, 1);
  }
  let row = params.kvOffsets + maskHead(b, h) * params.maskNMBlocks + rowBegin / params.maskBlockM;
  return Range(tables[row], tables[row + 1]);
}

/// Keys of a run, cut down to what is visited; whole tiles of `blockN` from its begin on.
fn keysOfRun(run: i32, visited: Range, blockN: i32) -> Run {
  if (!GENERAL || params.maskNMBlocks == 0) {
    return Run(visited.begin / blockN * blockN, visited.end, -1);
  }
  let begin = tables[params.kvBlocks + run] * params.maskBlockN;
  return Run(max(begin, visited.begin / blockN * blockN), min(begin + params.maskBlockN, visited.end), tables[params.kvBits + run]);
}

/// Runs that a block of keys visits.
fn runsOfKeys(b: u32, h: u32, keyBegin: i32) -> Range {
  if (!GENERAL || params.maskNMBlocks == 0) {
    return Range(0, 1);
  }
  let column = params.qOffsets + maskHead(b, h) * params.maskNNBlocks + keyBegin / params.maskBlockN;
  return Range(tables[column], tables[column + 1]);
}

fn queriesOfRun(run: i32, visited: Range, blockM: i32) -> Run {
  if (!GENERAL || params.maskNMBlocks == 0) {
    return Run(visited.begin / blockM * blockM, visited.end, -1);
  }
  let begin = tables[params.qBlocks + run] * params.maskBlockM;
  return Run(max(begin, visited.begin / blockM * blockM), min(begin + params.maskBlockM, visited.end), tables[params.qBits + run]);
}
