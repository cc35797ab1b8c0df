// The functions of subgroup.wgsl by way of workgroup memory, for tests: subgroups of 64, none of them full, and in no order that local_invocation_index would tell.
// Of every 64 ids four, from GAP on, have no invocation, so that two groups of lanes are not whole.

const SIZE = 64u;
const GAP = 22u;
const ACTIVE = SIZE - 4u;
const SUBGROUPS_OF_WORKGROUP = (WORKGROUP + ACTIVE - 1) / ACTIVE;

var<workgroup> exchanged: array<PerRow, SUBGROUPS_OF_WORKGROUP * SIZE>;
/// SIZE·subgroup + id
var<private> place: u32;

fn idOf(number: u32) -> u32 {
  return number + select(0u, SIZE - ACTIVE, number >= GAP);
}

fn enterSubgroup(local: u32, id: u32) -> u32 {
  // an odd factor and a power of two: some order
  let shuffled = (45u * local + 7u) % WORKGROUP;
  place = SIZE * (shuffled / ACTIVE) + idOf(shuffled % ACTIVE);
  return place % SIZE;
}

fn activeLanes() -> vec4u {
  var bits = vec4u();
  for (var number = 0u; number < min(ACTIVE, WORKGROUP - place / SIZE * ACTIVE); number++) {
    let lane = idOf(number);
    bits[lane / 32u] |= 1u << (lane % 32u);
  }
  return bits;
}

/// Not a constant: each exchange in an unrolled loop would take compilers long.
fn distances() -> u32 {
  return LANES * params.workgroup / WORKGROUP;
}

fn flipped(x: PerRow, mask: u32) -> PerRow {
  workgroupBarrier();
  exchanged[place] = x;
  workgroupBarrier();
  return exchanged[place ^ mask];
}

fn flippedIndex(x: u32, mask: u32) -> u32 {
  var values: PerRow;
  values[0] = f32(x);
  return u32(flipped(values, mask)[0]);
}
