// What every attention kernel gets to know. Positions are i32, places in buffers u32.

struct Params {
  seqlenQ: i32,
  seqlenK: i32,
  /// Rows of all sequences together.
  totalQ: u32,
  totalK: u32,
  nHeads: u32,
  /// Query heads that share a key head.
  groupSize: u32,
  headDim: u32,
  headDimV: u32,
  /// Planes of four elements in a packed head: of q or k, and of v or dout. 0 where the kernel needs none.
  planes: u32,
  planesV: u32,
  softmaxScale: f32,
  /// 0: off.
  softcap: f32,
  windowLeft: i32,
  windowRight: i32,
  causalTopLeft: u32,
  minusInfinity: f32,
  /// Number of the first sequence of this dispatch.
  firstBatch: u32,
  nMBlocks: u32,
  nSplits: u32,
  /// Which of nSplits dispatches this is, in the backward pass by subgroups.
  turn: u32,
  /// WORKGROUP, in a variable, so that compilers do not unroll its loops.
  workgroup: u32,
  /// Elements between a tensor's sequences (0 where they are packed), rows and heads. V is dout in the backward pass.
  startQ: u32,
  batchStrideQ: u32,
  rowStrideQ: u32,
  headStrideQ: u32,
  startK: u32,
  batchStrideK: u32,
  rowStrideK: u32,
  headStrideK: u32,
  startV: u32,
  batchStrideV: u32,
  rowStrideV: u32,
  headStrideV: u32,
  /// 1: sequences as in `tables`, cuSeqlensQ and cuSeqlensK.
  variableLengths: u32,
  batchSize: u32,
  /// 1: `heads` holds slopes and sinks.
  hasHeads: u32,
  hasBias: u32,
  startBias: u32,
  batchStrideBias: u32,
  headStrideBias: u32,
  rowStrideBias: u32,
  keyStrideBias: u32,
  /// Bit a is 1 where bias has an axis a of its own, counted from the last.
  biasAxes: u32,
  hasDropout: u32,
  dropoutThreshold: u32,
  /// Number of the first head of the first sequence, and how many a sequence has, in the call that this is a part of.
  firstRandomHead: u32,
  randomHeads: u32,
  seedLow: u32,
  seedHigh: u32,
  /// 10, in a variable, so that compilers do not unroll them.
  philoxRounds: i32,
  /// 1/(1 − dropoutP)
  keptFactor: f32,
  maskBlockM: i32,
  maskBlockN: i32,
  /// Blocks of queries (0: no mask) and of keys in a head of the mask, and heads between those of a sequence and of a head.
  maskNMBlocks: i32,
  maskNNBlocks: i32,
  maskBatchStride: i32,
  maskHeadStride: i32,
  /// Where in `tables` the mask's arrays begin.
  kvOffsets: i32,
  kvBlocks: i32,
  kvBits: i32,
  qOffsets: i32,
  qBlocks: i32,
  qBits: i32,
  maskBits: i32,
}

@group(1) @binding(0) var<uniform> params: Params;

/// Stands for −∞, which WGSL has not: scores of hidden pairs. No sum of scores comes near it.
const LOWEST = -3.0e38;
/// More rows than there are.
const UNLIMITED = 536870912i;

/// Element 0 of a head's rows of a sequence: `begin` is the sequence's first row where sequences are packed.
fn headOf(start: u32, batchStride: u32, rowStride: u32, headStride: u32, b: u32, begin: i32, h: u32) -> u32 {
  return start + b * batchStride + u32(begin) * params.variableLengths * rowStride + h * headStride;
}

/// Place of lse of the first row of a sequence and a head: lse is [B, Hq, Sq], or [Hq, totalQ].
fn lseOf(b: u32, begin: i32, h: u32) -> u32 {
  if (params.variableLengths == 1u) {
    return h * params.totalQ + u32(begin);
  }
  return (b * params.nHeads + h) * u32(params.seqlenQ);
}
