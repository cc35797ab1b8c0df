// What the backward kernels need of every query row, as one more vector beside its packed ones: lse, delta, ALiBi's slope and the sink.
// delta_i = Σ_d dout_id·out_id (arXiv 2205.14135, appendix B.2, eq. 4). Mirrors core-math/src/attention-backward-preprocess.ts.

struct Params {
  totalQ: u32,
  /// Of a sequence; totalQ where sequences are packed.
  seqlenQ: u32,
  nHeads: u32,
  headDimV: u32,
  startDout: u32,
  batchStrideDout: u32,
  rowStrideDout: u32,
  headStrideDout: u32,
  startOut: u32,
  batchStrideOut: u32,
  rowStrideOut: u32,
  headStrideOut: u32,
  startLse: u32,
  /// Vectors from head to head and from row to row of packedQ, and the place of this one.
  headVectors: u32,
  rowVectors: u32,
  firstVector: u32,
  hasHeads: u32,
  /// Where sinks begin in heads.
  firstSink: u32,
  /// Sequences in `cuSeqlens`, or 0: they are of one length.
  sequences: u32,
  grid: u32,
}

@group(0) @binding(0) var<storage, read> dout: array<Element>;
@group(0) @binding(1) var<storage, read> out: array<Element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> heads: array<f32>;
@group(0) @binding(4) var<storage, read> cuSeqlens: array<i32>;
@group(0) @binding(5) var<storage, read_write> packedQ: array<vec4f>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn attentionBackwardPreprocess(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = (workgroup.y * params.grid + workgroup.x) * 64u + local;
  let h = workgroup.z;
  if (row >= params.totalQ) {
    return;
  }
  var b = row / params.seqlenQ;
  let i = row % params.seqlenQ;
  let doutRow = params.startDout + b * params.batchStrideDout + i * params.rowStrideDout + h * params.headStrideDout;
  let outRow = params.startOut + b * params.batchStrideOut + i * params.rowStrideOut + h * params.headStrideOut;
  var delta = 0.0;
  for (var d = 0u; d < params.headDimV; d++) {
    delta = fma(f32(dout[doutRow + d]), f32(out[outRow + d]), delta);
  }
  let rowLse = lse[params.startLse + (b * params.nHeads + h) * params.seqlenQ + i];
  if (params.sequences > 0u) {
    // the last sequence that begins at or before the row, by halving
    var end = params.sequences;
    while (end - b > 1u) {
      let middle = (b + end) / 2u;
      if (u32(cuSeqlens[middle]) <= row) {
        b = middle;
      } else {
        end = middle;
      }
    }
  }
  let slope = select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u);
  let sink = select(0.0, heads[params.firstSink + h], params.hasHeads == 1u);
  packedQ[h * params.headVectors + row * params.rowVectors + params.firstVector] = vec4f(rowLse, delta, slope, sink);
}
