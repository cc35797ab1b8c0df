// Gradients of ALiBi's slopes and of sinks: sums over what the other kernels have left, each by one invocation, in order.

struct Params {
  /// Slopes [B, Hq], or 1 · [Hq] that the sequences share.
  batchOfSlopes: u32,
  batchSize: u32,
  nHeads: u32,
  /// Parts that dslopes has of a head of a sequence.
  nParts: u32,
  totalQ: u32,
  /// Vectors from head to head and from row to row of packedQ, and the place of those.
  headVectors: u32,
  rowVectors: u32,
  firstVector: u32,
}

/// lse, delta, slope and sink of each row.
@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
@group(0) @binding(1) var<storage, read> dslopes: array<f32>;
@group(0) @binding(2) var<storage, read_write> dalibiSlopes: array<f32>;
@group(0) @binding(3) var<storage, read_write> dsink: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

const LOWEST = -3.0e38;

@compute @workgroup_size(64)
fn attentionBackwardSlopes(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.batchOfSlopes * params.nHeads) {
    return;
  }
  let h = id.x % params.nHeads;
  let first = id.x / params.nHeads;
  let last = select(params.batchSize, first + 1u, params.batchOfSlopes > 1u);
  var sum = 0.0;
  for (var b = first; b < last; b++) {
    for (var part = 0u; part < params.nParts; part++) {
      sum += dslopes[(b * params.nHeads + h) * params.nParts + part];
    }
  }
  dalibiSlopes[id.x] = sum;
}

var<workgroup> partials: array<f32, 64>;

/// That of one more score whose dP is 0: −Σ_i exp(sink − lse_i)·delta_i.
@compute @workgroup_size(64)
fn attentionBackwardSink(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  var sum = 0.0;
  for (var row = local; row < params.totalQ; row += 64u) {
    let stats = packedQ[workgroup.x * params.headVectors + row * params.rowVectors + params.firstVector];
    if (stats.w > LOWEST) {
      sum -= exp(stats.w - stats.x) * stats.y;
    }
  }
  partials[local] = sum;
  workgroupBarrier();
  if (local == 0u) {
    var total = 0.0;
    for (var n = 0u; n < 64u; n++) {
      total += partials[n];
    }
    dsink[workgroup.x] = total;
  }
}
