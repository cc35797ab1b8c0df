// What lanes.wgsl and its users ask of subgroups. subgroup-emulated.wgsl has the same functions in plain WGSL.

/// Of this invocation, its number in the subgroup. Call it first.
fn enterSubgroup(local: u32, id: u32) -> u32 {
  return id;
}

/// Bit n of 128: whether the subgroup has an invocation number n.
fn activeLanes() -> vec4u {
  return subgroupBallot(true);
}

/// Of the lanes of a group, from one to itself and the others.
fn distances() -> u32 {
  return LANES;
}

/// The x of the lane whose number differs by the bits of `mask`, which is the same in all lanes.
fn flipped(x: PerRow, mask: u32) -> PerRow {
  var other: PerRow;
  for (var r = 0u; r < ROWS; r++) {
    other[r] = subgroupShuffleXor(x[r], mask);
  }
  return other;
}

fn flippedIndex(x: u32, mask: u32) -> u32 {
  return subgroupShuffleXor(x, mask);
}
