// Rotary embedding with half-rotation pairs (i, i + half), an element of the result an invocation.

struct Params {
  count: u32,
  seqlen: u32,
  nHeads: u32,
  headDim: u32,
  half: u32,
  startX: u32,
  strideBatch: u32,
  strideRow: u32,
  strideHead: u32,
  startCos: u32,
  strideCos: u32,
  startSin: u32,
  strideSin: u32,
  positionOffset: u32,
  /// 1, or −1 for the inverse rotation.
  direction: f32,
}

@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> cosines: array<f32>;
@group(0) @binding(2) var<storage, read> sines: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<Element>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn rope(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i >= params.count) {
    return;
  }
  let d = i % params.headDim;
  let head = (i / params.headDim) % params.nHeads;
  let row = (i / (params.headDim * params.nHeads)) % params.seqlen;
  let batch = i / (params.headDim * params.nHeads * params.seqlen);
  let base = params.startX + batch * params.strideBatch + row * params.strideRow + head * params.strideHead;
  if (d >= 2u * params.half) {
    out[i] = x[base + d];
    return;
  }
  let pair = d % params.half;
  let position = row + params.positionOffset;
  let c = cosines[params.startCos + position * params.strideCos + pair];
  let s = params.direction * sines[params.startSin + position * params.strideSin + pair];
  let first = f32(x[base + pair]);
  let second = f32(x[base + pair + params.half]);
  if (d < params.half) {
    out[i] = Element(first * c - second * s);
  } else {
    out[i] = Element(second * c + first * s);
  }
}
