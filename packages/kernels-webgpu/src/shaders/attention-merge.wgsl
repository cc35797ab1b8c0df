// Merges what parts of the keys have given: O = Σ e^(lse_s − lse)·O_s with lse = ln Σ e^(lse_s), the sink's share counted once. See OnlineSoftmax.merge in
// core-math/src/softmax.ts; here parts come already divided by their row sums.

struct Params {
  /// Rows of out, B·Sq·Hq, of headDimV elements each.
  rows: u32,
  headDimV: u32,
  nHeads: u32,
  /// Rows of lse that follow one another, and rows of out between them: lse is [B, Hq, Sq], out [B, Sq, Hq, Dv].
  seqlenQ: u32,
  nSplits: u32,
  hasSink: u32,
  /// Where sinks begin in heads.
  firstSink: u32,
  minusInfinity: f32,
  grid: u32,
}

@group(0) @binding(0) var<storage, read> partialOut: array<f32>;
@group(0) @binding(1) var<storage, read> partialLse: array<f32>;
@group(0) @binding(2) var<storage, read> heads: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

/// Stands for −∞.
const LOWEST = -3.0e38;

@compute @workgroup_size(64)
fn attentionMerge(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = workgroup.y * params.grid + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let b = row / (params.seqlenQ * params.nHeads);
  let i = row / params.nHeads % params.seqlenQ;
  let h = row % params.nHeads;
  let place = (b * params.nHeads + h) * params.seqlenQ + i;
  var sink = LOWEST;
  if (params.hasSink == 1u) {
    sink = max(heads[params.firstSink + h], LOWEST);
  }
  var most = sink;
  for (var split = 0u; split < params.nSplits; split++) {
    most = max(most, partialLse[split * params.rows + place]);
  }
  if (most <= LOWEST) {
    if (local == 0u) {
      lse[place] = params.minusInfinity;
    }
    for (var column = local; column < params.headDimV; column += 64u) {
      out[row * params.headDimV + column] = OutElement(0.0);
    }
    return;
  }
  var sum = select(0.0, exp(sink - most), sink > LOWEST);
  for (var split = 0u; split < params.nSplits; split++) {
    sum += exp(max(partialLse[split * params.rows + place], LOWEST) - most);
  }
  if (local == 0u) {
    lse[place] = most + log(sum);
  }
  for (var column = local; column < params.headDimV; column += 64u) {
    var value = 0.0;
    for (var split = 0u; split < params.nSplits; split++) {
      let part = split * params.rows;
      let weight = exp(max(partialLse[part + place], LOWEST) - most);
      value += weight * partialOut[(part + row) * params.headDimV + column];
    }
    out[row * params.headDimV + column] = OutElement(value / sum);
  }
}
