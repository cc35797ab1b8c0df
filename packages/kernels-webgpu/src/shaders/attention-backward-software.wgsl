// dQ, dK and dV in five products, by way of subgroups of exactly SUBGROUP lanes, for adapters in software: without workgroup memory and barriers. What costs
// them most are loads and stores of buffers, element by element, so that a subgroup owns as many keys as its registers (on a processor: the stack) hold,
// four consecutive ones a lane, and walks over the query rows that see them, which it reads from textures. Code has to be small as well, to stay in a
// processor's cache: each product is a loop of its own over a block of rows.
//
// Lanes load different elements of a query row, which all get by shuffles. Sums over keys, for dQ, are first over those of a lane, and then over lanes by
// shuffles that transpose at the same time, so that each lane ends up with the elements of dQ that it loads and stores.
//
// dQ is summed over key blocks in memory. That no two subgroups add to one row at a time, and that rows are added to in a fixed order, is due to turns:
// key blocks and row blocks are dealt out to nSplits groups, and in a turn, which is a dispatch, key group g has row group g + turn.
//
// FLOPs: 2·Sq·Sk·(3·D + 2·Dv) per query head. Bytes: twice Q, dO and dQ for BLOCK_N keys, everything else once a turn.

/// [totalQ, Hq, planes] and [totalQ, Hq, planesV], in vectors of four.
@group(0) @binding(0) var q: texture_storage_2d<rgba32float, read>;
@group(0) @binding(1) var dout: texture_storage_2d<rgba32float, read>;
/// [totalK, Hk, planes] and [totalK, Hk, planesV].
@group(0) @binding(2) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var v: texture_storage_2d<rgba32float, read>;
/// [Hq][totalQ]: lse, delta, slope and sink.
@group(0) @binding(4) var<storage, read> statistics: array<vec4f>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read> tables: array<i32>;
/// As q; zeros before the first turn.
@group(0) @binding(7) var<storage, read_write> dq: array<vec4f>;
/// As k and v.
@group(0) @binding(8) var<storage, read_write> dk: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> dv: array<vec4f>;
/// [B, Hq, nSplits, nNBlocks]: −Σ distance·dS of each turn's and key block's pairs.
@group(0) @binding(10) var<storage, read_write> dslopes: array<f32>;

/// Keys of a set, four consecutive ones a lane, and of a subgroup.
const SET = 4 * SUBGROUP;
const BLOCK_N = KEYS * SET;
/// Query rows that belong to one turn together: as many as 16 KiB of workgroup memory have scores of.
const ROW_BLOCK = 64 / KEYS;
const HEAD_DIM = 4 * VECTORS * SUBGROUP;
/// Vectors of a row in memory.
const ROW_VECTORS = VECTORS * SUBGROUP;
/// Vectors of a row that are multiplied in one loop, which compilers unroll: longer ones they would not.
const STEP = 8u / KEYS;
/// The same in sums over rows.
const OUTER_STEP = 16u / (ROWS * KEYS);

/// A lane's part of a query row: vector v begins at element 4·(v·SUBGROUP + lane).
alias Row = array<vec4f, VECTORS>;

/// Element d of K and V of a lane's four keys of each set. Filled in loops at indices that are not constant, and read at constant ones. Four arrays, not one:
/// compilers of adapters in software compare all uses of an array with one another.
var<private> kTile: array<vec4f, KEYS * HEAD_DIM>;
var<private> vTile: array<vec4f, KEYS * HEAD_DIM>;
/// The same of dK and dV.
var<private> dkTile: array<vec4f, KEYS * HEAD_DIM>;
var<private> dvTile: array<vec4f, KEYS * HEAD_DIM>;
/// P, and dS times softmaxScale, of the rows of a block, set of keys after set. A lane reads what it has written. Adapters in software store in workgroup memory
/// with half of the instructions that private memory takes at an index that is not constant.
var<workgroup> scores: array<vec4f, KEYS * ROW_BLOCK * SUBGROUP>;
var<workgroup> gradients: array<vec4f, KEYS * ROW_BLOCK * SUBGROUP>;

/// Of row n of a block and a lane's keys of a set.
fn placeOf(keySet: i32, n: i32, lane: u32) -> i32 {
  return (keySet * ROW_BLOCK + n) * SUBGROUP + i32(lane);
}

/// The number of turns of a loop that compilers shall not unroll: they do not know that params.workgroup is SUBGROUP.
fn turns(count: u32) -> u32 {
  return params.workgroup * count / SUBGROUP;
}

/// Four elements of a query row, from vector n on, for all lanes.
fn spread(row: Row, n: u32) -> vec4f {
  return subgroupShuffle(row[n / SUBGROUP], n % SUBGROUP);
}

/// Vector n of a lane's part of row i of q, or of dout where `values` (a constant); zeros beyond the head dim.
fn loadVector(n: u32, i: i32, begin: u32, h: u32, values: bool, lane: u32) -> vec4f {
  let vectors = select(params.planes, params.planesV, values);
  let at = ((begin + u32(i)) * params.nHeads + h) * vectors;
  let place = n * SUBGROUP + lane;
  if (values) {
    return select(vec4f(0.0), texelOf(dout, at + place), place < vectors);
  }
  return select(vec4f(0.0), texelOf(q, at + place), place < vectors);
}

fn loadRow(i: i32, begin: u32, h: u32, values: bool, lane: u32) -> Row {
  var row = Row();
  for (var n = 0u; n < VECTORS; n++) {
    row[n] = loadVector(n, i, begin, h, values, lane);
  }
  return row;
}

/// S and dP of a row and this lane's keys.
struct Products {
  s: array<vec4f, KEYS>,
  dp: array<vec4f, KEYS>,
}

/// products + q·kᵀ and dout·vᵀ, over STEP vectors from `begin` on.
fn multiplyStep(products: Products, qRow: Row, doutRow: Row, begin: u32) -> Products {
  var result = products;
  for (var n = begin; n < begin + STEP; n++) {
    let d = 4u * n;
    let x = spread(qRow, n);
    for (var keySet = 0u; keySet < KEYS; keySet++) {
      let at = keySet * HEAD_DIM + d;
      let s = fma(vec4f(x.y), kTile[at + 1u], fma(vec4f(x.x), kTile[at], result.s[keySet]));
      result.s[keySet] = fma(vec4f(x.w), kTile[at + 3u], fma(vec4f(x.z), kTile[at + 2u], s));
    }
    let y = spread(doutRow, n);
    for (var keySet = 0u; keySet < KEYS; keySet++) {
      let at = keySet * HEAD_DIM + d;
      let dp = fma(vec4f(y.y), vTile[at + 1u], fma(vec4f(y.x), vTile[at], result.dp[keySet]));
      result.dp[keySet] = fma(vec4f(y.w), vTile[at + 3u], fma(vec4f(y.z), vTile[at + 2u], dp));
    }
  }
  return result;
}

/// 3. S = q·kᵀ, 4. dP = dout·vᵀ
fn multiplyRow(qRow: Row, doutRow: Row) -> Products {
  var products = multiplyStep(Products(), qRow, doutRow, 0u);
  if (ROW_VECTORS > STEP) {
    products = multiplyStep(products, qRow, doutRow, STEP);
  }
  if (ROW_VECTORS > 2 * STEP) {
    products = multiplyStep(products, qRow, doutRow, 2u * STEP);
    products = multiplyStep(products, qRow, doutRow, 3u * STEP);
  }
  if (ROW_VECTORS > 4 * STEP) {
    products = multiplyStep(products, qRow, doutRow, 4u * STEP);
    products = multiplyStep(products, qRow, doutRow, 5u * STEP);
    products = multiplyStep(products, qRow, doutRow, 6u * STEP);
    products = multiplyStep(products, qRow, doutRow, 7u * STEP);
  }
  return products;
}

/// sums + Σ weightsᵀ·(four elements of rows, which lane `source` holds)
fn addOuterElements(sums: mat4x4f, rows: array<vec4f, ROWS>, weights: array<vec4f, ROWS * KEYS>, keySet: u32, source: u32) -> mat4x4f {
  var result = sums;
  for (var r = 0u; r < ROWS; r++) {
    let x = subgroupShuffle(rows[r], source);
    let w = weights[r * KEYS + keySet];
    result = mat4x4f(fma(w, vec4f(x.x), result[0]), fma(w, vec4f(x.y), result[1]), fma(w, vec4f(x.z), result[2]), fma(w, vec4f(x.w), result[3]));
  }
  return result;
}

/// Adds Σ weightsᵀ·rows to elements of dK, or of dV where `values`: those of vector n of OUTER_STEP lanes from `begin` on.
fn addOuterStep(n: u32, rows: array<vec4f, ROWS>, weights: array<vec4f, ROWS * KEYS>, values: bool, begin: u32) {
  for (var source = begin; source < begin + OUTER_STEP; source++) {
    for (var keySet = 0u; keySet < KEYS; keySet++) {
      let d = keySet * HEAD_DIM + 4u * (n * SUBGROUP + source);
      if (values) {
        let sums = addOuterElements(mat4x4f(dvTile[d], dvTile[d + 1u], dvTile[d + 2u], dvTile[d + 3u]), rows, weights, keySet, source);
        dvTile[d] = sums[0];
        dvTile[d + 1u] = sums[1];
        dvTile[d + 2u] = sums[2];
        dvTile[d + 3u] = sums[3];
      } else {
        let sums = addOuterElements(mat4x4f(dkTile[d], dkTile[d + 1u], dkTile[d + 2u], dkTile[d + 3u]), rows, weights, keySet, source);
        dkTile[d] = sums[0];
        dkTile[d + 1u] = sums[1];
        dkTile[d + 2u] = sums[2];
        dkTile[d + 3u] = sums[3];
      }
    }
  }
}

/// 8. dK += dSᵀ·Q, or where `values` dV += Pᵀ·dout, of the rows of a block and vector n of each lane.
fn addOuterVectors(n: u32, i: i32, count: i32, lastRow: i32, begin: u32, h: u32, values: bool, lane: u32) {
  for (var first = 0; first < count; first += ROWS) {
    var rows = array<vec4f, ROWS>();
    var weights = array<vec4f, ROWS * KEYS>();
    for (var r = 0; r < ROWS; r++) {
      rows[r] = loadVector(n, min(i + first + r, lastRow), begin, h, values, lane);
      for (var keySet = 0; keySet < KEYS; keySet++) {
        if (values) {
          weights[r * KEYS + keySet] = scores[placeOf(keySet, first + r, lane)];
        } else {
          weights[r * KEYS + keySet] = gradients[placeOf(keySet, first + r, lane)];
        }
      }
    }
    addOuterStep(n, rows, weights, values, 0u);
    if (SUBGROUP > OUTER_STEP) {
      addOuterStep(n, rows, weights, values, OUTER_STEP);
    }
  }
}

fn addOuterRows(i: i32, count: i32, lastRow: i32, begin: u32, h: u32, values: bool, lane: u32) {
  addOuterVectors(0u, i, count, lastRow, begin, h, values, lane);
  if (VECTORS > 1) {
    addOuterVectors(1u, i, count, lastRow, begin, h, values, lane);
  }
  if (VECTORS > 2) {
    addOuterVectors(2u, i, count, lastRow, begin, h, values, lane);
    addOuterVectors(3u, i, count, lastRow, begin, h, values, lane);
  }
  if (VECTORS > 4) {
    addOuterVectors(4u, i, count, lastRow, begin, h, values, lane);
    addOuterVectors(5u, i, count, lastRow, begin, h, values, lane);
    addOuterVectors(6u, i, count, lastRow, begin, h, values, lane);
    addOuterVectors(7u, i, count, lastRow, begin, h, values, lane);
  }
}

/// dS of a row.
alias Weights = array<vec4f, KEYS>;

/// This lane's keys' part of elements d … d + 3 of dS·K.
fn partOfDq(ds: Weights, d: u32) -> vec4f {
  var part = vec4f(dot(ds[0], kTile[d]), dot(ds[0], kTile[d + 1u]), dot(ds[0], kTile[d + 2u]), dot(ds[0], kTile[d + 3u]));
  if (KEYS == 2) {
    let other = ds[KEYS - 1];
    let at = (KEYS - 1) * HEAD_DIM + d;
    part += vec4f(dot(other, kTile[at]), dot(other, kTile[at + 1u]), dot(other, kTile[at + 2u]), dot(other, kTile[at + 3u]));
  }
  return part;
}

/// One step of summing over lanes: lanes with `bit` keep b, the others a.
fn exchange(a: vec4f, b: vec4f, lane: u32, bit: u32) -> vec4f {
  let upper = (lane & bit) != 0u;
  return select(a, b, upper) + subgroupShuffleXor(select(b, a, upper), bit);
}

/// Vector v of a lane's part of dS·K.
fn dqVector(ds: Weights, v: u32, lane: u32) -> vec4f {
  let d = 4u * SUBGROUP * v;
  if (SUBGROUP == 4) {
    let even = exchange(partOfDq(ds, d), partOfDq(ds, d + 8u), lane, 2u);
    let odd = exchange(partOfDq(ds, d + 4u), partOfDq(ds, d + 12u), lane, 2u);
    return exchange(even, odd, lane, 1u);
  }
  let s0 = exchange(partOfDq(ds, d), partOfDq(ds, d + 16u), lane, 4u);
  let s2 = exchange(partOfDq(ds, d + 8u), partOfDq(ds, d + 24u), lane, 4u);
  let even = exchange(s0, s2, lane, 2u);
  let s1 = exchange(partOfDq(ds, d + 4u), partOfDq(ds, d + 20u), lane, 4u);
  let s3 = exchange(partOfDq(ds, d + 12u), partOfDq(ds, d + 28u), lane, 4u);
  return exchange(even, exchange(s1, s3, lane, 2u), lane, 1u);
}

fn dqRow(ds: Weights, lane: u32) -> Row {
  var row: Row;
  row[0] = dqVector(ds, 0u, lane);
  if (VECTORS > 1) {
    row[1 % VECTORS] = dqVector(ds, 1u % VECTORS, lane);
  }
  if (VECTORS > 2) {
    row[2 % VECTORS] = dqVector(ds, 2u % VECTORS, lane);
    row[3 % VECTORS] = dqVector(ds, 3u % VECTORS, lane);
  }
  if (VECTORS > 4) {
    row[4 % VECTORS] = dqVector(ds, 4u % VECTORS, lane);
    row[5 % VECTORS] = dqVector(ds, 5u % VECTORS, lane);
    row[6 % VECTORS] = dqVector(ds, 6u % VECTORS, lane);
    row[7 % VECTORS] = dqVector(ds, 7u % VECTORS, lane);
  }
  return row;
}

/// 1. The K and V tiles of a set, and zeros in those of dK and dV: each lane its four keys, whose rows `rows` are among all heads' rows; keys beyond the last repeat it.
fn loadKeys(keySet: u32, rows: vec4u) {
  let kAt = rows * params.planes;
  let vAt = rows * params.planesV;
  for (var n = 0u; n < turns(ROW_VECTORS); n++) {
    var x = mat4x4f();
    if (n < params.planes) {
      x = transpose(mat4x4f(texelOf(k, kAt.x + n), texelOf(k, kAt.y + n), texelOf(k, kAt.z + n), texelOf(k, kAt.w + n)));
    }
    var y = mat4x4f();
    if (n < params.planesV) {
      y = transpose(mat4x4f(texelOf(v, vAt.x + n), texelOf(v, vAt.y + n), texelOf(v, vAt.z + n), texelOf(v, vAt.w + n)));
    }
    for (var e = 0u; e < turns(4u); e++) {
      let d = keySet * HEAD_DIM + 4u * n + e;
      kTile[d] = x[0];
      vTile[d] = y[0];
      dkTile[d] = vec4f();
      dvTile[d] = vec4f();
      x = mat4x4f(x[1], x[2], x[3], x[0]);
      y = mat4x4f(y[1], y[2], y[3], y[0]);
    }
  }
}

/// What earlier turns have left of dK and dV.
fn loadGradients(keySet: u32, rows: vec4u) {
  for (var n = 0u; n < select(0u, turns(ROW_VECTORS), params.turn > 0u); n++) {
    var x = mat4x4f();
    var y = mat4x4f();
    var row4 = rows;
    for (var key = 0u; key < turns(4u); key++) {
      x = mat4x4f(x[1], x[2], x[3], dk[row4.x * params.planes + min(n, params.planes - 1u)]);
      y = mat4x4f(y[1], y[2], y[3], dv[row4.x * params.planesV + min(n, params.planesV - 1u)]);
      row4 = row4.yzwx;
    }
    x = transpose(x);
    y = transpose(y);
    for (var e = 0u; e < turns(4u); e++) {
      let d = keySet * HEAD_DIM + 4u * n + e;
      dkTile[d] = x[0];
      dvTile[d] = y[0];
      x = mat4x4f(x[1], x[2], x[3], x[0]);
      y = mat4x4f(y[1], y[2], y[3], y[0]);
    }
  }
}

/// 10. write dK and dV of the keys of a set before the last
fn storeGradients(keySet: u32, rows: vec4u, valid: vec4<bool>) {
  for (var n = 0u; n < max(params.planes, params.planesV); n++) {
    var x = mat4x4f();
    var y = mat4x4f();
    for (var e = 0u; e < turns(4u); e++) {
      let d = keySet * HEAD_DIM + 4u * n + e;
      x = mat4x4f(x[1], x[2], x[3], dkTile[d]);
      y = mat4x4f(y[1], y[2], y[3], dvTile[d]);
    }
    x = transpose(x);
    y = transpose(y);
    var row4 = rows;
    var valid4 = valid;
    for (var key = 0u; key < turns(4u); key++) {
      if (valid4.x && n < params.planes) {
        dk[row4.x * params.planes + n] = x[0];
      }
      if (valid4.x && n < params.planesV) {
        dv[row4.x * params.planesV + n] = y[0];
      }
      x = mat4x4f(x[1], x[2], x[3], x[0]);
      y = mat4x4f(y[1], y[2], y[3], y[0]);
      row4 = row4.yzwx;
      valid4 = valid4.yzwx;
    }
  }
}

/// Where four keys from j on stand among the rows of all key heads; the last stands for those beyond.
fn rowsOfKeys(sequence: Sequence, j: i32, hk: u32) -> vec4u {
  let keys = min(vec4i(j, j + 1, j + 2, j + 3), vec4i(sequence.seqlenK - 1));
  return (u32(sequence.beginK) + vec4u(keys)) * (params.nHeads / params.groupSize) + hk;
}

/// 5. P, 6. dS of a row and four of this lane's keys.
fn gradientsOfRow(i: i32, j: i32, lse: f32, delta: f32, sequence: Sequence, bits: i32, head: ScoreHead, s: vec4f, dp: vec4f) -> PairGradients {
  let keys = j + vec4i(0, 1, 2, 3);
  var dropout = vec4f(1.0);
  if (GENERAL && params.hasDropout == 1u) {
    dropout = dropoutFactors(head.batchHead, i, j / 4);
  }
  return pairGradients(s, dp, visible(sequence, bits, vec4i(i), keys), head, vec4i(i), keys, vec4f(lse), vec4f(delta), dropout);
}

@compute @workgroup_size(SUBGROUP)
fn attentionBackwardSoftware(@builtin(workgroup_id) workgroup: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let b = params.firstBatch + workgroup.z;
  let hk = workgroup.y;
  let sequence = sequenceOf(b);
  let nGroups = i32(params.nSplits);
  let rowGroup = (i32(workgroup.x) + i32(params.turn)) % nGroups;
  let begin = u32(sequence.beginQ);
  let lastRow = sequence.seqlenQ - 1;
  for (var keyBegin = i32(workgroup.x) * BLOCK_N; keyBegin < sequence.seqlenK; keyBegin += nGroups * BLOCK_N) {
    // 1. load the K and V tiles
    let j = keyBegin + 4 * i32(lane);
    for (var keySet = 0u; keySet < turns(KEYS); keySet++) {
      let keyRows = rowsOfKeys(sequence, j + i32(keySet * SET), hk);
      loadKeys(keySet, keyRows);
      loadGradients(keySet, keyRows);
    }
    let visited = visitedQueries(sequence, keyBegin, min(keyBegin + BLOCK_N, sequence.seqlenK));
    for (var h = hk * params.groupSize; h < (hk + 1u) * params.groupSize; h++) {
      let statisticsAt = h * params.totalQ + begin;
      let head = scoreHead(b, h, sequence, statistics[statisticsAt].z);
      var dslope = 0.0;
      let runs = runsOfKeys(b, h, keyBegin);
      for (var number = runs.begin; number < runs.end; number++) {
        let run = queriesOfRun(number, visited, ROWS);
        // the first block of the group that ends after the run's begin
        let begun = run.begin / ROW_BLOCK;
        for (var block = begun + (rowGroup + nGroups - begun % nGroups) % nGroups; block * ROW_BLOCK < run.end; block += nGroups) {
          let i = max(run.begin, block * ROW_BLOCK);
          // in whole turns of ROWS, of which rows beyond the last see nothing
          let count = (min(run.end, (block + 1) * ROW_BLOCK) - i + ROWS - 1) / ROWS * ROWS;
          for (var first = 0; first < count; first += SUBGROUP) {
            // lse and delta are loaded for as many rows as there are lanes
            let stats4 = statistics[statisticsAt + u32(min(i + first + i32(lane), lastRow))];
            for (var n = first; n < min(first + SUBGROUP, count); n++) {
              // 2. load the rows of q and dout
              let row = min(i + n, lastRow);
              let qRow = loadRow(row, begin, h, false, lane);
              let doutRow = loadRow(row, begin, h, true, lane);
              // 3. S, 4. dP
              var products = multiplyRow(qRow, doutRow);
              // A loop even for one set: it keeps compilers from moving what it does among the products, which they would hold in memory and sum one by one.
              for (var keySet = 0; keySet < i32(turns(KEYS)); keySet++) {
                // 5. P, 6. dS
                let stats = subgroupShuffle(stats4.xy, u32(n - first));
                let key = j + keySet * SET;
                let pairs = gradientsOfRow(i + n, key, stats.x, stats.y, sequence, run.bits, head, products.s[0], products.dp[0]);
                scores[placeOf(keySet, n, lane)] = pairs.p;
                gradients[placeOf(keySet, n, lane)] = params.softmaxScale * pairs.ds;
                if (GENERAL) {
                  dslope -= dot(vec4f(distance4(head, vec4i(i + n), key + vec4i(0, 1, 2, 3))), pairs.dscore);
                }
                products.s[0] = products.s[KEYS - 1];
                products.dp[0] = products.dp[KEYS - 1];
              }
            }
          }
          // 8. dV += Pᵀ·dout and dK += dSᵀ·Q
          addOuterRows(i, count, lastRow, begin, h, true, lane);
          addOuterRows(i, count, lastRow, begin, h, false, lane);
          // 7. dQ += dS·K, 9. in memory, one row after the other: what repeats the last row adds 0 to it
          for (var n = 0; n < count; n++) {
            let at = ((begin + u32(min(i + n, lastRow))) * params.nHeads + h) * params.planes;
            var ds = Weights();
            for (var keySet = 0; keySet < KEYS; keySet++) {
              ds[keySet] = gradients[placeOf(keySet, n, lane)];
            }
            var sums = dqRow(ds, lane);
            for (var place = lane; place < params.planes; place += SUBGROUP) {
              dq[at + place] += sums[0];
              for (var left = 0; left < VECTORS - 1; left++) {
                sums[left] = sums[left + 1];
              }
            }
          }
        }
      }
      if (GENERAL) {
        dslope += subgroupShuffleXor(dslope, 1u);
        dslope += subgroupShuffleXor(dslope, 2u);
        if (SUBGROUP == 8) {
          dslope += subgroupShuffleXor(dslope, 4u % SUBGROUP);
        }
        if (lane == 0u) {
          dslopes[((b * params.nHeads + h) * params.nSplits + params.turn) * params.nMBlocks + u32(keyBegin / BLOCK_N)] = dslope;
        }
      }
    }
    for (var keySet = 0u; keySet < turns(KEYS); keySet++) {
      let first = j + i32(keySet * SET);
      storeGradients(keySet, rowsOfKeys(sequence, first, hk), first + vec4i(0, 1, 2, 3) < vec4i(sequence.seqlenK));
    }
  }
}
