// Sixteen rows of a tile in the registers of a subgroup of exactly LANES lanes, for attention-forward-software.wgsl: products, maxima, sums and the online softmax.

/// Sixteen rows of four columns: a vector is a row, a matrix four rows. Sums keep to constant indices, without which compilers put them into memory; so
/// loops over rows are written out. Of fewer rows only the first matrices are used.
struct Rows {
  a: mat4x4f,
  b: mat4x4f,
  c: mat4x4f,
  d: mat4x4f,
}

fn none() -> Rows {
  return Rows(mat4x4f(), mat4x4f(), mat4x4f(), mat4x4f());
}

/// Four vectors that one lane has.
fn fromLane(own: mat4x4f, lane: u32) -> mat4x4f {
  return mat4x4f(
    subgroupShuffle(own[0], lane),
    subgroupShuffle(own[1], lane),
    subgroupShuffle(own[2], lane),
    subgroupShuffle(own[3], lane),
  );
}

/// Four steps of a product for four rows and four columns.
fn addRows(sums: mat4x4f, factors: mat4x4f, b4: mat4x4f) -> mat4x4f {
  return mat4x4f(
    addRow(sums[0], factors[0], b4),
    addRow(sums[1], factors[1], b4),
    addRow(sums[2], factors[2], b4),
    addRow(sums[3], factors[3], b4),
  );
}

fn scaleRows(s: mat4x4f, factors: vec4f) -> mat4x4f {
  return mat4x4f(s[0] * factors.x, s[1] * factors.y, s[2] * factors.z, s[3] * factors.w);
}

fn scaleAll(s: Rows, factors: mat4x4f) -> Rows {
  return Rows(scaleRows(s.a, factors[0]), scaleRows(s.b, factors[1]), scaleRows(s.c, factors[2]), scaleRows(s.d, factors[3]));
}

/// The largest of four rows' columns in all lanes, which are all here where one is: that they are follows from subgroupAny.
@diagnostic(off, subgroup_uniformity)
fn mostOf(s: mat4x4f) -> vec4f {
  let columns = transpose(s);
  var most = max(max(columns[0], columns[1]), max(columns[2], columns[3]));
  most = max(most, subgroupShuffleXor(most, 1u));
  most = max(most, subgroupShuffleXor(most, 2u));
  if (LANES == 8) {
    most = max(most, subgroupShuffleXor(most, 4u));
  }
  return most;
}

fn sumOf(lanes: vec4f) -> vec4f {
  var sum = lanes;
  sum += subgroupShuffleXor(sum, 1u);
  sum += subgroupShuffleXor(sum, 2u);
  if (LANES == 8) {
    sum += subgroupShuffleXor(sum, 4u);
  }
  return sum;
}

fn sumColumns(p: mat4x4f) -> vec4f {
  let columns = transpose(p);
  return (columns[0] + columns[1]) + (columns[2] + columns[3]);
}

alias Tile = array<vec4f, 16>;

fn toTile(s: Rows) -> Tile {
  return Tile(
    s.a[0], s.a[1], s.a[2], s.a[3], s.b[0], s.b[1], s.b[2], s.b[3],
    s.c[0], s.c[1], s.c[2], s.c[3], s.d[0], s.d[1], s.d[2], s.d[3],
  );
}

fn fromTile(tile: Tile) -> Rows {
  return Rows(
    mat4x4f(tile[0], tile[1], tile[2], tile[3]),
    mat4x4f(tile[4], tile[5], tile[6], tile[7]),
    mat4x4f(tile[8], tile[9], tile[10], tile[11]),
    mat4x4f(tile[12], tile[13], tile[14], tile[15]),
  );
}

const LOG2_E = 1.44269504;
const LN_2 = 0.693147181;

/// What the online softmax knows of sixteen rows, four a vector, in powers of two. The sums are those of a lane's own keys.
struct State {
  rowMax: mat4x4f,
  rowSum: mat4x4f,
}

fn begin() -> State {
  return State(mat4x4f(vec4f(FLOOR), vec4f(FLOOR), vec4f(FLOOR), vec4f(FLOOR)), mat4x4f());
}

/// How far scores may go beyond rowMax, in powers of two: what is summed stays 2^SLACK times as far from overflow as it would be.
const SLACK = 8.0;

/// max(a, b) in one instruction instead of three, which it takes to return the other one where one is NaN.
fn larger(a: vec4f, b: vec4f) -> vec4f {
  return select(a, b, a < b);
}

/// The largest of four rows' columns in this lane.
fn largest(s: mat4x4f) -> vec4f {
  let columns = transpose(s);
  return larger(larger(columns[0], columns[1]), larger(columns[2], columns[3]));
}

/// How far scores of this lane go beyond rowMax. A row of NaN keeps to itself.
fn growthOf(state: State, s: Rows) -> f32 {
  var growth = largest(s.a) - state.rowMax[0];
  if (QUADS > 1) {
    growth = max(growth, largest(s.b) - state.rowMax[1]);
  }
  if (QUADS > 2) {
    growth = max(growth, largest(s.c) - state.rowMax[2]);
    growth = max(growth, largest(s.d) - state.rowMax[3]);
  }
  return most4(growth);
}

/// 4. new maxima; returns what O is to be multiplied by
fn grow(state: ptr<function, State>, s: Rows) -> mat4x4f {
  let old = state.rowMax;
  var most = old;
  most[0] = max(old[0], mostOf(s.a));
  if (QUADS > 1) {
    most[1] = max(old[1], mostOf(s.b));
  }
  if (QUADS > 2) {
    most[2] = max(old[2], mostOf(s.c));
    most[3] = max(old[3], mostOf(s.d));
  }
  let rescale = mat4x4f(exp2(old[0] - most[0]), exp2(old[1] - most[1]), exp2(old[2] - most[2]), exp2(old[3] - most[3]));
  state.rowMax = most;
  state.rowSum = mat4x4f(
    state.rowSum[0] * rescale[0],
    state.rowSum[1] * rescale[1],
    state.rowSum[2] * rescale[2],
    state.rowSum[3] * rescale[3],
  );
  return rescale;
}

/// 4. P = exp(S − m), 0 where masked, and its sums
fn probabilities(s: Rows, state: ptr<function, State>) -> Rows {
  var p = s;
  let rowMax = state.rowMax;
  p.a = powers(s.a, rowMax[0]);
  state.rowSum[0] += sumColumns(p.a);
  if (QUADS > 1) {
    p.b = powers(s.b, rowMax[1]);
    state.rowSum[1] += sumColumns(p.b);
  }
  if (QUADS > 2) {
    p.c = powers(s.c, rowMax[2]);
    state.rowSum[2] += sumColumns(p.c);
    p.d = powers(s.d, rowMax[3]);
    state.rowSum[3] += sumColumns(p.d);
  }
  return p;
}

fn powers(s: mat4x4f, rowMax: vec4f) -> mat4x4f {
  return mat4x4f(exp2(s[0] - rowMax.x), exp2(s[1] - rowMax.y), exp2(s[2] - rowMax.z), exp2(s[3] - rowMax.w));
}

/// Of sixteen rows, four a vector.
struct Ending {
  lse: mat4x4f,
  rescale: mat4x4f,
}

fn ending(state: State, h: u32) -> Ending {
  let a = totalOf(sumOf(state.rowSum[0]), LN_2 * state.rowMax[0], h);
  let b = totalOf(sumOf(state.rowSum[1]), LN_2 * state.rowMax[1], h);
  let c = totalOf(sumOf(state.rowSum[2]), LN_2 * state.rowMax[2], h);
  let d = totalOf(sumOf(state.rowSum[3]), LN_2 * state.rowMax[3], h);
  return Ending(mat4x4f(a.lse, b.lse, c.lse, d.lse), mat4x4f(a.rescale, b.rescale, c.rescale, d.rescale));
}
