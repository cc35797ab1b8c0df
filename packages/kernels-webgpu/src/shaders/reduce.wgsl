// Sums and maxima over a workgroup, in a fixed order. Every invocation must call them, and gets the result. Two calls need no barrier in between:
// who writes `segments` has passed a barrier that everybody reaches after reading them.

/// Partial results that one invocation adds up: √WORKGROUP, so that three barriers do.
const SEGMENT = select(16u, 8u, WORKGROUP == 64u);

var<workgroup> partials: array<f32, WORKGROUP>;
var<workgroup> segments: array<f32, WORKGROUP / SEGMENT>;

fn sumOverWorkgroup(local: u32, value: f32) -> f32 {
  partials[local] = value;
  workgroupBarrier();
  if (local < WORKGROUP / SEGMENT) {
    var sum = partials[local * SEGMENT];
    for (var i = 1u; i < SEGMENT; i++) {
      sum += partials[local * SEGMENT + i];
    }
    segments[local] = sum;
  }
  workgroupBarrier();
  var total = segments[0];
  for (var i = 1u; i < WORKGROUP / SEGMENT; i++) {
    total += segments[i];
  }
  return total;
}

fn maxOverWorkgroup(local: u32, value: f32) -> f32 {
  partials[local] = value;
  workgroupBarrier();
  if (local < WORKGROUP / SEGMENT) {
    var most = partials[local * SEGMENT];
    for (var i = 1u; i < SEGMENT; i++) {
      most = max(most, partials[local * SEGMENT + i]);
    }
    segments[local] = most;
  }
  workgroupBarrier();
  var total = segments[0];
  for (var i = 1u; i < WORKGROUP / SEGMENT; i++) {
    total = max(total, segments[i]);
  }
  return total;
}
