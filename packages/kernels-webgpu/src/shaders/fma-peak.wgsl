// Multiply-adds in registers: what the device does at best. Twelve independent chains an invocation hide their latency, and fit with
// the two operands into the 16 vector registers of a processor that plays the GPU.

struct Params {
  /// A multiple of 4.
  rounds: u32,
  /// A little less than 1, so that no chain grows, and unknown to the compiler.
  factor: f32,
}

@group(0) @binding(0) var<storage, read_write> sink: array<f32>;
@group(1) @binding(0) var<uniform> params: Params;

/// x ← x·factor + addend, written as fma or as a product and a sum: which of them compiles to one instruction is the driver's affair.
fn multiplyAdd(x: vec4f, factor: f32, addend: f32) -> vec4f {
  if (FUSED) {
    return fma(x, vec4f(factor), vec4f(addend));
  }
  return x * factor + addend;
}

@compute @workgroup_size(WORKGROUP)
fn fmaPeak(@builtin(global_invocation_id) id: vec3u) {
  let factor = params.factor;
  let addend = 1.0 - factor;
  var a = f32(id.x & 63u) + vec4f(1.0, 2.0, 3.0, 4.0);
  var b = a + 4.0;
  var c = a + 8.0;
  // Four rounds a turn, since a turn costs a software adapter as much as a round.
  for (var round = 0u; round < params.rounds; round += 4u) {
    a = multiplyAdd(a, factor, addend);
    b = multiplyAdd(b, factor, addend);
    c = multiplyAdd(c, factor, addend);
    a = multiplyAdd(a, factor, addend);
    b = multiplyAdd(b, factor, addend);
    c = multiplyAdd(c, factor, addend);
    a = multiplyAdd(a, factor, addend);
    b = multiplyAdd(b, factor, addend);
    c = multiplyAdd(c, factor, addend);
    a = multiplyAdd(a, factor, addend);
    b = multiplyAdd(b, factor, addend);
    c = multiplyAdd(c, factor, addend);
  }
  sink[id.x] = dot(a + b + c, vec4f(1.0));
}
