// Groups of LANES lanes that follow one another in a subgroup, numbered over the workgroup: what kernels for GPUs divide rows by. They hold for subgroups of any
// size that LANES divides, one that varies from one subgroup to the next included, and for any order of a workgroup's invocations in its subgroups. From WGSL they take that
// - subgroup_invocation_id is below the subgroup's size, and no two invocations of a subgroup have the same: ids from a multiple of LANES on are a group,
//   and an id's bits below LANES can be flipped without leaving it;
// - subgroupShuffleXor(x, mask) is the x of the active invocation with the id `id ^ mask`, where the mask is the same in the whole subgroup, here a constant;
// - subgroupBallot(true) has the bits of the ids of active invocations, and no others;
// - in uniform control flow, which is checked when a shader is compiled, all invocations of a workgroup are active.
// It does not say that every id below the size has an invocation: a subgroup may have gaps, where groups are not whole. These take part in barriers and
// in loading, and own no rows; the other groups then walk over the keys once more for theirs.
//
// Declared elsewhere: LANES (4 or 8), WORKGROUP, ROWS (those of a group), ROW_VECTORS and stage: array<Vector, WORKGROUP or more>.

/// Something of each row of a group.
alias PerRow = array<f32, ROWS>;

struct Member {
  /// Place in the group.
  lane: u32,
  /// Number of the group; of those that are not whole, WORKGROUP.
  group: u32,
}

/// Before `stage` holds anything; what it holds afterwards is for wholeGroups. `subgroupId`: subgroup_invocation_id.
fn memberOf(local: u32, subgroupId: u32) -> Member {
  let id = enterSubgroup(local, subgroupId);
  let begin = id / LANES * LANES;
  let all = (1u << LANES) - 1u;
  let whole = ((activeLanes()[begin / 32u] >> (begin % 32u)) & all) == all;
  // A group goes by the least of its invocations, and its number is how many others go by a lesser one.
  var least = local;
  for (var mask = 1u; mask < LANES; mask *= 2u) {
    least = min(least, flippedIndex(least, mask));
  }
  stage[local] = Vector(vec4f(select(0.0, 1.0, whole && local == least)));
  workgroupBarrier();
  var group = 0u;
  var groups = 0u;
  for (var other = 0u; other < WORKGROUP; other++) {
    if (stage[other].x > 0.0) {
      groups++;
      group += select(0u, 1u, other < least);
    }
  }
  workgroupBarrier();
  if (local == 0u) {
    stage[0] = Vector(vec4f(f32(groups)));
  }
  return Member(id % LANES, select(u32(WORKGROUP), group, whole));
}

/// How many groups of the workgroup are whole, after memberOf: in all likelihood WORKGROUP / LANES.
fn wholeGroups() -> u32 {
  return max(1u, u32(workgroupUniformLoad(&stage[0]).x));
}

fn larger(a: PerRow, b: PerRow) -> PerRow {
  var result: PerRow;
  for (var r = 0u; r < ROWS; r++) {
    result[r] = max(a[r], b[r]);
  }
  return result;
}

fn added(a: PerRow, b: PerRow) -> PerRow {
  var result: PerRow;
  for (var r = 0u; r < ROWS; r++) {
    result[r] = a[r] + b[r];
  }
  return result;
}

/// The largest x of a group.
fn mostOfGroup(x: PerRow) -> PerRow {
  var most = larger(x, flipped(x, 1u));
  most = larger(most, flipped(most, 2u));
  if (LANES == 8) {
    most = larger(most, flipped(most, 4u));
  }
  return most;
}

/// The sum of a group, the same bits in each of its lanes.
fn sumOfGroup(x: PerRow) -> PerRow {
  var sum = added(x, flipped(x, 1u));
  sum = added(sum, flipped(sum, 2u));
  if (LANES == 8) {
    sum = added(sum, flipped(sum, 4u));
  }
  return sum;
}

// Rows of tiles in workgroup memory, ROW_VECTORS vectors each, a multiple of LANES. Lanes read them in two ways: the same vector of the rows that they own, four
// neighbours each, and neighbouring vectors of rows that belong to lanes at the same distance (lane ^ distance). Vectors are permuted so that either
// way LANES neighbouring places are read, which are different banks: by q·x for the owner q of a row, in the field of LANES elements. Neither x·q nor q + x·q = q·(1 + x)
// takes a value twice.

fn permutation(owner: u32) -> u32 {
  return ((owner << 1u) ^ select(0u, select(7u, 11u, LANES == 8), owner >= LANES / 2u)) & (LANES - 1u);
}

fn placeInStage(row: u32, vector: u32) -> u32 {
  return row * ROW_VECTORS + (vector ^ permutation(row / 4u));
}
