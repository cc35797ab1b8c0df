// Slopes of ALiBi by (b, h), then sinks by h, in one buffer: kernels of attention have few bindings left. Without slopes 0, without sinks −∞.

struct Params {
  batchSize: u32,
  nHeads: u32,
  hasSlopes: u32,
  startSlopes: u32,
  batchStride: u32,
  hasSink: u32,
  startSink: u32,
  minusInfinity: f32,
}

@group(0) @binding(0) var<storage, read> slopes: array<f32>;
@group(0) @binding(1) var<storage, read> sink: array<f32>;
@group(0) @binding(2) var<storage, read_write> heads: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn attentionHeads(@builtin(local_invocation_index) local: u32) {
  let all = params.batchSize * params.nHeads;
  for (var i = local; i < all + params.nHeads; i += 64u) {
    let h = i % params.nHeads;
    if (i >= all) {
      heads[i] = select(params.minusInfinity, sink[params.startSink + h], params.hasSink == 1u);
    } else {
      heads[i] = select(0.0, slopes[params.startSlopes + i / params.nHeads * params.batchStride + h], params.hasSlopes == 1u);
    }
  }
}
