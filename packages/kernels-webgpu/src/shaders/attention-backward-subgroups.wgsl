// What the backward kernels by way of subgroups of any size share (lanes.wgsl): a workgroup walks over tiles of 4·LANES rows, query rows or keys, of which each lane
// has four neighbouring ones against the ROWS rows, keys or query rows, that its group owns. What is staged are rows of packedQ or packedK, two tiles at a time.

/// [Hq][totalQ][2·rowVectors + 1]: q, dout, and lse, delta, slope and sink.
@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
/// [Hk][totalK][2·rowVectors]: k, v.
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;

/// Rows of a tile, and those that a workgroup owns; they divide those of a block mask's.
const TILE_ROWS = 4 * LANES;
const ROW_GROUPS = WORKGROUP / LANES;
const OWN_ROWS = ROW_GROUPS * ROWS;
/// Vectors of q, dout, k or v of a row; and from row to row.
const ROW_VECTORS = VECTORS * LANES;
const STRIDE_Q = 2 * ROW_VECTORS + 1;
const STRIDE_K = 2 * ROW_VECTORS;
/// Vectors of a tile; and those of them that an invocation fetches.
const TILE = TILE_ROWS * ROW_VECTORS;
const FETCHES = TILE / WORKGROUP;

/// Two tiles: rows of lanes.wgsl.
var<workgroup> stage: array<vec4f, 2 * TILE>;

/// Vectors on their way into the stage.
alias Fetched = array<vec4f, FETCHES>;
/// Pairs of each own row with the four rows of a lane.
alias Pairs = array<vec4f, ROWS>;
/// [ROWS][VECTORS]: own rows' gradients, in the columns of a lane.
alias Sums = array<vec4f, ROWS * VECTORS>;

/// Rows that follow one another in packedQ or packedK: the vector that the first begins at, and the last row, which stands for those beyond.
struct Rows {
  at: u32,
  last: i32,
}

/// The vectors from `first` on of this invocation's part of a tile of keys.
fn fetchK(keys: Rows, keyBegin: i32, first: u32, local: u32) -> Fetched {
  var fetched: Fetched;
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    fetched[n] = packedK[keys.at + u32(min(keyBegin + i32(at / ROW_VECTORS), keys.last)) * STRIDE_K + first + at % ROW_VECTORS];
  }
  return fetched;
}

fn fetchQ(rows: Rows, rowBegin: i32, first: u32, local: u32) -> Fetched {
  var fetched: Fetched;
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    fetched[n] = packedQ[rows.at + u32(min(rowBegin + i32(at / ROW_VECTORS), rows.last)) * STRIDE_Q + first + at % ROW_VECTORS];
  }
  return fetched;
}

/// To vector `begin` of the stage.
fn keep(fetched: Fetched, begin: u32, local: u32) {
  for (var n = 0u; n < FETCHES; n++) {
    let at = n * WORKGROUP + local;
    stage[begin + placeInStage(at / ROW_VECTORS, at % ROW_VECTORS)] = fetched[n];
  }
}

/// Vector `vector` of the four rows of a lane, transposed: column e has element e of each. `begin`: of their tile in the stage.
fn fourRows(begin: u32, lane: u32, vector: u32) -> mat4x4f {
  let at = begin + placeInStage(4u * lane, vector);
  return transpose(mat4x4f(stage[at], stage[at + ROW_VECTORS], stage[at + 2u * ROW_VECTORS], stage[at + 3u * ROW_VECTORS]));
}

/// Four steps of a product for one own row and a lane's four.
fn addPairs(sum: vec4f, own: vec4f, four: mat4x4f) -> vec4f {
  let two = fma(vec4f(own.y), four[1], fma(vec4f(own.x), four[0], sum));
  return fma(vec4f(own.w), four[3], fma(vec4f(own.z), four[2], two));
}

/// sums + weights·(the rows of the tile at `begin`): for each distance from lane to lane the weights of one of four rows, which come by shuffles, and its vectors.
fn addWeighted(sums: Sums, weightsOfLane: Pairs, begin: u32, lane: u32) -> Sums {
  var result = sums;
  var weights = weightsOfLane;
  for (var e = 0u; e < 4u; e++) {
    var ofRow: PerRow;
    for (var r = 0u; r < ROWS; r++) {
      ofRow[r] = weights[r].x;
    }
    for (var distance = 0u; distance < distances(); distance++) {
      let at = begin + placeInStage(4u * (lane ^ distance), lane) + e * ROW_VECTORS;
      let weight = flipped(ofRow, distance);
      for (var c = 0u; c < VECTORS; c++) {
        let values = stage[at + c * LANES];
        for (var r = 0u; r < ROWS; r++) {
          result[r * VECTORS + c] = fma(vec4f(weight[r]), values, result[r * VECTORS + c]);
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      weights[r] = weights[r].yzwx;
    }
  }
  return result;
}

/// What becomes of S and dP in steps 5 and 6. Functions take and give them whole: their loops over rows may stay loops, which index arrays at run time, and those are not
/// to be the arrays that products are summed in.
struct PairsGradients {
  p: Pairs,
  ds: Pairs,
  dscore: Pairs,
}

/// A tile that a workgroup visits: the rows from `begin` on of a run, by its number.
struct Visit {
  number: i32,
  run: Run,
  begin: i32,
}
