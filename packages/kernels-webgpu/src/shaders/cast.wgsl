// Conversions between element types on bits, in integers: exact for every value, with ties to even, whatever the device does with
// subnormal numbers and NaN. FROM and TO are 0 for f32, 1 for f16, 2 for bf16.

struct Params {
  /// Elements, and those of a row.
  count: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

fn f32FromF16(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let exponent = (half >> 10u) & 31u;
  let mantissa = half & 0x3ffu;
  if (exponent == 31u) {
    return sign | 0x7f800000u | (mantissa << 13u);
  }
  if (exponent != 0u) {
    return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
  }
  if (mantissa == 0u) {
    return sign;
  }
  // mantissa · 2⁻²⁴, normal in f32
  let top = 31u - countLeadingZeros(mantissa);
  return sign | ((top + 103u) << 23u) | ((mantissa << (23u - top)) & 0x7fffffu);
}

fn f16FromF32(bits: u32) -> u32 {
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    return sign | 0x7e00u;
  }
  // From 65520 on, halfway between 65504 and what would come next.
  if (magnitude >= 0x477ff000u) {
    return sign | 0x7c00u;
  }
  // From 2⁻¹⁴ on, normal in f16; a carry out of the mantissa counts the exponent up as it should.
  if (magnitude >= 0x38800000u) {
    return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
  }
  // Up to 2⁻²⁵, half of the least subnormal.
  if (magnitude <= 0x33000000u) {
    return sign;
  }
  let shift = 126u - (magnitude >> 23u);
  let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  let quotient = mantissa >> shift;
  let rest = mantissa & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  let up = rest > half || (rest == half && (quotient & 1u) == 1u);
  return sign | (quotient + u32(up));
}

fn bf16FromF32(bits: u32) -> u32 {
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return ((bits >> 16u) & 0x8000u) | 0x7fc0u;
  }
  return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

/// Element `i` as the bits of an f32.
fn load(i: u32) -> u32 {
  let at = positionIn(i, params.columns, params.startX, params.strideX);
  if (FROM == 0) {
    return x[at];
  }
  let half = (x[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
  if (FROM == 1) {
    return f32FromF16(half);
  }
  return half << 16u;
}

fn narrow(bits: u32) -> u32 {
  if (TO == 1) {
    return f16FromF32(bits);
  }
  return bf16FromF32(bits);
}

/// One word of the result an invocation: one element, or two halves.
@compute @workgroup_size(WORKGROUP)
fn castElements(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let word = invocationNumber(workgroup, workgroups, local);
  if (TO == 0) {
    if (word < params.count) {
      out[word] = load(word);
    }
    return;
  }
  let i = 2u * word;
  if (i >= params.count) {
    return;
  }
  var bits = narrow(load(i));
  if (i + 1u < params.count) {
    bits |= narrow(load(i + 1u)) << 16u;
  }
  out[word] = bits;
}
