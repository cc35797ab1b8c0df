// Copies between strided tensors, word by word, so that bits stay what they are. Axes are in the order of the target's memory,
// outermost first, and padded with axes of one element.

struct Params {
  /// Elements (copyWords), or words of the target between its first element and its last (copyHalves).
  count: u32,
  startFrom: u32,
  startTo: u32,
  size0: u32, from0: u32, to0: u32,
  size1: u32, from1: u32, to1: u32,
  size2: u32, from2: u32, to2: u32,
  size3: u32, from3: u32, to3: u32,
  size4: u32, from4: u32, to4: u32,
}

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> dest: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

/// Elements of four bytes, one an invocation.
@compute @workgroup_size(WORKGROUP)
fn copyWords(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  var rest = invocationNumber(workgroup, workgroups, local);
  if (rest >= params.count) {
    return;
  }
  let i4 = rest % params.size4;
  rest /= params.size4;
  let i3 = rest % params.size3;
  rest /= params.size3;
  let i2 = rest % params.size2;
  rest /= params.size2;
  let i1 = rest % params.size1;
  let i0 = rest / params.size1;
  let at = params.startFrom + i0 * params.from0 + i1 * params.from1 + i2 * params.from2 + i3 * params.from3 + i4 * params.from4;
  let to = params.startTo + i0 * params.to0 + i1 * params.to1 + i2 * params.to2 + i3 * params.to3 + i4 * params.to4;
  dest[to] = source[at];
}

/// Where element `at` of the target's memory comes from: (element of the source, 1), or (…, 0) if it is no element of the target.
fn originOf(at: u32) -> vec2u {
  if (at < params.startTo) {
    return vec2u(0u);
  }
  // Strides of a view nest: the elements inside an axis lie closer together than its own stride.
  var rest = at - params.startTo;
  let i0 = rest / params.to0;
  rest %= params.to0;
  let i1 = rest / params.to1;
  rest %= params.to1;
  let i2 = rest / params.to2;
  rest %= params.to2;
  let i3 = rest / params.to3;
  rest %= params.to3;
  let i4 = rest / params.to4;
  rest %= params.to4;
  let inside = i0 < params.size0 && i1 < params.size1 && i2 < params.size2 && i3 < params.size3 && i4 < params.size4 && rest == 0u;
  let origin = params.startFrom + i0 * params.from0 + i1 * params.from1 + i2 * params.from2 + i3 * params.from3 + i4 * params.from4;
  return vec2u(select(0u, origin, inside), u32(inside));
}

fn loadHalf(at: u32) -> u32 {
  return (source[at >> 1u] >> (16u * (at & 1u))) & 0xffffu;
}

/// Elements of two bytes: each word of the target belongs to one invocation, which keeps the half that is not to change.
@compute @workgroup_size(WORKGROUP)
fn copyHalves(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i >= params.count) {
    return;
  }
  let word = params.startTo / 2u + i;
  let low = originOf(2u * word);
  let high = originOf(2u * word + 1u);
  if (low.y == 0u && high.y == 0u) {
    return;
  }
  var bits = dest[word];
  if (low.y != 0u) {
    bits = (bits & 0xffff0000u) | loadHalf(low.x);
  }
  if (high.y != 0u) {
    bits = (bits & 0xffffu) | (loadHalf(high.x) << 16u);
  }
  dest[word] = bits;
}
