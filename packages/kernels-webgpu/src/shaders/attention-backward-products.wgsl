// The tiles of S and dP that the backward kernels for GPUs begin with: BLOCK_M query rows × BLOCK_N keys a workgroup, ROWS × 4 of them in the registers of an
// invocation. What is multiplied is staged in workgroup memory, sixteen elements of each row at a time.

/// [Hq][totalQ][2·rowVectors + 1]: q, dout, and lse, delta, slope and sink.
@group(0) @binding(0) var<storage, read> packedQ: array<vec4f>;
/// [Hk][totalK][2·rowVectors]: k, v.
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> tables: array<i32>;

/// Query rows and keys of a tile; they divide those of a block mask's.
const BLOCK_M = 64;
const BLOCK_N = 32;
const KEY_QUADS = BLOCK_N / 4;
/// Invocations that share four keys, and rows of each: row_i = own row + i·ROW_GROUPS.
const ROW_GROUPS = WORKGROUP / KEY_QUADS;
const ROWS = BLOCK_M / ROW_GROUPS;
/// Vectors of a packed row: VECTORS for each of as many invocations.
const ROW_VECTORS = VECTORS * ROW_GROUPS;
/// Vectors of a row that are staged at a time, and from row to row: one more, so that the rows that invocations read together lie in different banks.
const STEP = 4;
const STAGED_ROW = STEP + 1;
const STAGE = 512;

/// Rows, then keys, of what is multiplied.
var<workgroup> stage: array<vec4f, STAGE>;
/// [BLOCK_M][KEY_QUADS]: P or dS.
var<workgroup> tile: array<vec4f, BLOCK_M * KEY_QUADS>;

/// Products of an invocation: four keys a vector.
alias Products = array<vec4f, ROWS>;

/// Rows of a head that a tile reads: the vector that the first begins at, and the last row, which stands for those beyond.
struct Rows {
  at: u32,
  last: i32,
}

/// Four keys that an invocation owns, and its first row, in a tile.
struct Own {
  quad: u32,
  row: u32,
}

fn ownOf(local: u32) -> Own {
  return Own(local % KEY_QUADS, local / KEY_QUADS);
}

/// The number of turns of a loop that compilers shall not unroll: they do not know that params.workgroup is WORKGROUP. Loads and stores are what software
/// adapters take long to compile, so that each stands once, in such a loop where it can; arrays of an invocation are shifted by one in every turn.
fn turns(count: u32) -> u32 {
  return params.workgroup * count / WORKGROUP;
}

/// 1. Where key 4·q + e is staged: neighbouring quads lie side by side.
fn keySlot(n: u32) -> u32 {
  return BLOCK_M + n % 4u * KEY_QUADS + n / 4u;
}

/// Stages STEP vectors, from `vector` on, of the rows and keys of a tile.
fn stageStep(rows: Rows, keys: Rows, rowBegin: i32, keyBegin: i32, vector: u32, local: u32) {
  for (var at = local; at < (BLOCK_M + BLOCK_N) * STEP; at += WORKGROUP) {
    let row = at / STEP;
    let v = at % STEP;
    if (row < BLOCK_M) {
      let source = rows.at + u32(min(rowBegin + i32(row), rows.last)) * (2u * ROW_VECTORS + 1u);
      stage[row * STAGED_ROW + v] = packedQ[source + vector + v];
    } else {
      let source = keys.at + u32(min(keyBegin + i32(row - BLOCK_M), keys.last)) * (2u * ROW_VECTORS);
      stage[keySlot(row - BLOCK_M) * STAGED_ROW + v] = packedK[source + vector + v];
    }
  }
}

/// The products with one more at the end, and without the first.
fn pushed(products: Products, last: vec4f) -> Products {
  var result: Products;
  for (var n = 0; n < ROWS - 1; n++) {
    result[n] = products[n + 1];
  }
  result[ROWS - 1] = last;
  return result;
}

/// Rows by keys, over the ROW_VECTORS vectors of each from `first` on: 0 for q·kᵀ, ROW_VECTORS for dout·vᵀ. Ends without a barrier after the last read.
fn products(rows: Rows, keys: Rows, rowBegin: i32, keyBegin: i32, first: u32, local: u32) -> Products {
  let own = ownOf(local);
  var sums = Products();
  for (var vector = first; vector < first + params.planes; vector += STEP) {
    workgroupBarrier();
    stageStep(rows, keys, rowBegin, keyBegin, vector, local);
    workgroupBarrier();
    for (var v = 0u; v < turns(STEP); v++) {
      let k0 = stage[(BLOCK_M + own.quad) * STAGED_ROW + v];
      let k1 = stage[(BLOCK_M + KEY_QUADS + own.quad) * STAGED_ROW + v];
      let k2 = stage[(BLOCK_M + 2u * KEY_QUADS + own.quad) * STAGED_ROW + v];
      let k3 = stage[(BLOCK_M + 3u * KEY_QUADS + own.quad) * STAGED_ROW + v];
      for (var n = 0u; n < ROWS; n++) {
        let x = stage[(own.row + n * ROW_GROUPS) * STAGED_ROW + v];
        sums[n] += vec4f(dot(x, k0), dot(x, k1), dot(x, k2), dot(x, k3));
      }
    }
  }
  return sums;
}

/// 5. P, 6. dS of one row of an invocation's, and of its four keys from j on.
fn gradientsOfRow(rows: Rows, i: i32, j: i32, sequence: Sequence, bits: i32, head: ScoreHead, s: vec4f, dp: vec4f) -> PairGradients {
  let keys = j + vec4i(0, 1, 2, 3);
  let statistics = packedQ[rows.at + u32(min(i, rows.last)) * (2u * ROW_VECTORS + 1u) + 2u * ROW_VECTORS];
  let seen = visible(sequence, bits, vec4i(i), keys);
  var dropout = vec4f(1.0);
  if (GENERAL && params.hasDropout == 1u) {
    dropout = dropoutFactors(head.batchHead, i, j / 4);
  }
  return pairGradients(s, dp, seen, head, vec4i(i), keys, vec4f(statistics.x), vec4f(statistics.y), dropout);
}
