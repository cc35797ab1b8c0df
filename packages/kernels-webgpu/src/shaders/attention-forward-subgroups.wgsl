// Exact attention, forward, by way of subgroups of exactly LANES lanes: the steps of attention-forward.wgsl without workgroup memory and without barriers.
// For adapters in software, where a shuffle costs as little as an addition and workgroup memory much more.
//
// Nested tiling: a subgroup owns ROWS = 4·QUADS query rows of one head and walks over tiles of 4·LANES keys. In the scores' phase a lane owns four neighbouring keys of
// the tile, in the output's phase VECTORS·4 columns of V, each against all ROWS rows, in registers. What is different in each lane, K and V, comes straight
// from memory, four elements a load, each used for ROWS rows; what all lanes need, Q and P, is in the registers of one of them, from where shuffles spread it.
//
// An `if` runs both its sides on such adapters. So maxima are updated in every tile, without a look at whether they have grown, and what only some tiles
// need, masks and options, is a loop over rows whose count is 0 in all others.

@group(0) @binding(0) var<storage, read> q: array<Vector>;
@group(0) @binding(1) var<storage, read> packedK: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<Vector>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
/// ALiBi's slopes [B, Hq], then sinks [Hq].
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
/// Of each part of the keys, if they are split.
@group(0) @binding(6) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const BLOCK_N = 4 * LANES;
const ROWS = 4 * QUADS;
/// Sixteen rows of four columns: a vector is a row, a matrix four rows. Sums keep to constant indices, without which compilers put them into memory; so
/// loops over rows are written out. Of fewer rows only the first matrices are used.
struct Rows {
  a: mat4x4f,
  b: mat4x4f,
  c: mat4x4f,
  d: mat4x4f,
}

/// Four vectors that lanes first … first + 3 have.
fn fromLanes(own: vec4f, first: u32) -> mat4x4f {
  return mat4x4f(
    subgroupShuffle(own, first),
    subgroupShuffle(own, first + 1u),
    subgroupShuffle(own, first + 2u),
    subgroupShuffle(own, first + 3u),
  );
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

/// Four elements of a row of q, of the last row for those beyond.
fn loadQ(head: u32, row: u32, rows: u32, plane: u32) -> vec4f {
  return vec4f(q[head + min(row, rows - 1u) * (params.rowStrideQ / 4u) + plane]);
}

/// 3. S = q·kᵀ for four planes of the head dim and four keys.
fn addScores(sums: Rows, head: u32, rows: u32, lane: u32, plane: u32, k4: mat4x4f) -> Rows {
  var s = sums;
  let q0 = loadQ(head, lane, rows, plane);
  s.a = addRows(s.a, fromLanes(q0, 0u), k4);
  if (LANES == 8) {
    if (QUADS > 1) {
      s.b = addRows(s.b, fromLanes(q0, 4u), k4);
    }
    if (QUADS > 2) {
      let q1 = loadQ(head, 8u + lane, rows, plane);
      s.c = addRows(s.c, fromLanes(q1, 0u), k4);
      s.d = addRows(s.d, fromLanes(q1, 4u), k4);
    }
  } else {
    if (QUADS > 1) {
      s.b = addRows(s.b, fromLanes(loadQ(head, 4u + lane, rows, plane), 0u), k4);
    }
    if (QUADS > 2) {
      s.c = addRows(s.c, fromLanes(loadQ(head, 8u + lane, rows, plane), 0u), k4);
      s.d = addRows(s.d, fromLanes(loadQ(head, 12u + lane, rows, plane), 0u), k4);
    }
  }
  return s;
}

fn scaleRows(s: mat4x4f, factors: vec4f) -> mat4x4f {
  return mat4x4f(s[0] * factors.x, s[1] * factors.y, s[2] * factors.z, s[3] * factors.w);
}

fn scaleAll(s: Rows, factors: mat4x4f) -> Rows {
  return Rows(scaleRows(s.a, factors[0]), scaleRows(s.b, factors[1]), scaleRows(s.c, factors[2]), scaleRows(s.d, factors[3]));
}

/// The largest of four rows' columns in all lanes.
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

/// 4. P = exp(S − m), 0 where masked
fn probabilities(s: mat4x4f, rowMax: vec4f) -> mat4x4f {
  return mat4x4f(exp(s[0] - rowMax.x), exp(s[1] - rowMax.y), exp(s[2] - rowMax.z), exp(s[3] - rowMax.w));
}

/// Four keys of a lane's columns number c of v; the last columns again for those beyond, which are not stored.
fn loadV(at: vec4u, c: u32, lane: u32) -> mat4x4f {
  let column = min(c * LANES + lane, params.planesV - 1u);
  return mat4x4f(vec4f(v[at.x + column]), vec4f(v[at.y + column]), vec4f(v[at.z + column]), vec4f(v[at.w + column]));
}

/// Two tiles of columns.
struct Both {
  left: Rows,
  right: Rows,
}

/// 5. O += P·v for the four keys of lane `quad` and four columns.
fn addOutput(sums: Rows, p: Rows, quad: u32, v4: mat4x4f) -> Rows {
  var o = sums;
  o.a = addRows(o.a, fromLane(p.a, quad), v4);
  if (QUADS > 1) {
    o.b = addRows(o.b, fromLane(p.b, quad), v4);
  }
  if (QUADS > 2) {
    o.c = addRows(o.c, fromLane(p.c, quad), v4);
    o.d = addRows(o.d, fromLane(p.d, quad), v4);
  }
  return o;
}

/// The same for eight columns, which share what is spread.
fn addOutputs(left: Rows, right: Rows, p: Rows, quad: u32, v0: mat4x4f, v1: mat4x4f) -> Both {
  var o = Both(left, right);
  let a = fromLane(p.a, quad);
  o.left.a = addRows(o.left.a, a, v0);
  o.right.a = addRows(o.right.a, a, v1);
  if (QUADS > 1) {
    let b = fromLane(p.b, quad);
    o.left.b = addRows(o.left.b, b, v0);
    o.right.b = addRows(o.right.b, b, v1);
  }
  if (QUADS > 2) {
    let c = fromLane(p.c, quad);
    o.left.c = addRows(o.left.c, c, v0);
    o.right.c = addRows(o.right.c, c, v1);
    let d = fromLane(p.d, quad);
    o.left.d = addRows(o.left.d, d, v0);
    o.right.d = addRows(o.right.d, d, v1);
  }
  return o;
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

@compute @workgroup_size(LANES)
fn attentionForward(@builtin(workgroup_id) workgroup: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let split = workgroup.z % params.nSplits;
  let b = params.firstBatch + workgroup.z / params.nSplits;
  let h = workgroup.y;
  let sequence = sequenceOf(b);
  // The last rows first: under a causal mask they see the most keys.
  let rowBegin = i32((params.nMBlocks - 1u - workgroup.x) * ROWS);
  let rowEnd = rowBegin + ROWS;
  if (rowBegin >= sequence.seqlenQ) {
    return;
  }
  let rows = min(ROWS, sequence.seqlenQ - rowBegin);
  let hk = h / params.groupSize;
  let head = scoreHead(b, h, sequence, select(0.0, heads[b * params.nHeads + h], params.hasHeads == 1u));
  // Places of the first row of q and of the head's keys and values, in vectors.
  let qHead = headOf(params.startQ, params.batchStrideQ, params.rowStrideQ, params.headStrideQ, b, sequence.beginQ, h) / 4u +
    u32(rowBegin) * (params.rowStrideQ / 4u);
  let kHead = hk * params.planes * params.totalK + u32(sequence.beginK);
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk) / 4u;
  let lastKey = vec4i(sequence.seqlenK - 1);

  var o0: Rows;
  var o1: Rows;
  var o2: Rows;
  var o3: Rows;
  var o4: mat4x4f;
  var o5: mat4x4f;
  var o6: mat4x4f;
  var o7: mat4x4f;
  // Four rows a vector. The sums are those of this lane's keys.
  var rowMax = mat4x4f(vec4f(FLOOR), vec4f(FLOOR), vec4f(FLOOR), vec4f(FLOOR));
  var rowSum: mat4x4f;

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. this lane's keys
      let j = keyBegin + 4 * i32(lane) + vec4i(0, 1, 2, 3);
      var key = kHead + vec4u(min(j, lastKey));
      // 3. S = q·kᵀ
      var s = Rows(mat4x4f(), mat4x4f(), mat4x4f(), mat4x4f());
      for (var plane = 0u; plane < params.planes; plane++) {
        s = addScores(s, qHead, u32(rows), lane, plane, transpose(mat4x4f(packedK[key.x], packedK[key.y], packedK[key.z], packedK[key.w])));
        key += params.totalK;
      }
      // 3. scaled, capped, with ALiBi and bias; 4. masked
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      if (!GENERAL) {
        s = Rows(s.a * params.softmaxScale, s.b * params.softmaxScale, s.c * params.softmaxScale, s.d * params.softmaxScale);
      }
      if (GENERAL || !all) {
        var tile = toTile(s);
        for (var r = 0; r < rows; r++) {
          let i = vec4i(rowBegin + r);
          let seen = visible(sequence, run.bits, i, j) & (j < vec4i(run.end));
          var scores = tile[r];
          if (GENERAL) {
            scores = biasedScores(cappedScores(scores), head, i, j);
          }
          tile[r] = select(vec4f(LOWEST), scores, seen);
        }
        s = fromTile(tile);
      }
      // 4. new maxima, and rescale O
      let newMax = mat4x4f(
        max(rowMax[0], mostOf(s.a)), max(rowMax[1], mostOf(s.b)), max(rowMax[2], mostOf(s.c)), max(rowMax[3], mostOf(s.d)),
      );
      let rescale = mat4x4f(
        exp(rowMax[0] - newMax[0]), exp(rowMax[1] - newMax[1]), exp(rowMax[2] - newMax[2]), exp(rowMax[3] - newMax[3]),
      );
      rowMax = newMax;
      o0 = scaleAll(o0, rescale);
      if (VECTORS > 1) {
        o1 = scaleAll(o1, rescale);
      }
      if (VECTORS > 2) {
        o2 = scaleAll(o2, rescale);
        o3 = scaleAll(o3, rescale);
      }
      if (VECTORS > 4) {
        o4 = scaleRows(o4, rescale[0]);
        o5 = scaleRows(o5, rescale[0]);
        o6 = scaleRows(o6, rescale[0]);
        o7 = scaleRows(o7, rescale[0]);
      }
      // 4. P = exp(S − m), 0 where masked
      var p = Rows(probabilities(s.a, newMax[0]), probabilities(s.b, newMax[1]), probabilities(s.c, newMax[2]), probabilities(s.d, newMax[3]));
      rowSum = mat4x4f(
        rowSum[0] * rescale[0] + sumColumns(p.a),
        rowSum[1] * rescale[1] + sumColumns(p.b),
        rowSum[2] * rescale[2] + sumColumns(p.c),
        rowSum[3] * rescale[3] + sumColumns(p.d),
      );
      if (GENERAL && params.hasDropout == 1u) {
        var tile = toTile(p);
        for (var r = 0; r < rows; r++) {
          tile[r] *= dropoutFactors(head.batchHead, rowBegin + r, j.x / 4);
        }
        p = fromTile(tile);
      }
      // 5. O += P·v, with dropout on P, of which the row sum knows nothing
      let quads = u32(min(BLOCK_N, run.end - keyBegin) + 3) / 4u;
      for (var quad = 0u; quad < quads; quad++) {
        let at = vHead + vec4u(min(keyBegin + 4 * i32(quad) + vec4i(0, 1, 2, 3), lastKey)) * (params.rowStrideV / 4u);
        let v0 = loadV(at, 0u, lane);
        if (VECTORS == 1) {
          o0 = addOutput(o0, p, quad, v0);
        } else if (VECTORS == 2) {
          let v1 = loadV(at, 1u, lane);
          let both = addOutputs(o0, o1, p, quad, v0, v1);
          o0 = both.left;
          o1 = both.right;
        } else {
          let v1 = loadV(at, 1u, lane);
          let both = addOutputs(o0, o1, p, quad, v0, v1);
          o0 = both.left;
          o1 = both.right;
          let others = addOutputs(o2, o3, p, quad, loadV(at, 2u, lane), loadV(at, 3u, lane));
          o2 = others.left;
          o3 = others.right;
        }
        if (VECTORS > 4) {
          let factors = fromLane(p.a, quad);
          o4 = addRows(o4, factors, loadV(at, 4u, lane));
          o5 = addRows(o5, factors, loadV(at, 5u, lane));
          o6 = addRows(o6, factors, loadV(at, 6u, lane));
          o7 = addRows(o7, factors, loadV(at, 7u, lane));
        }
      }
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  let firstRow = split * params.totalQ * params.nHeads;
  var totals = array(
    totalOf(sumOf(rowSum[0]), rowMax[0], h), totalOf(sumOf(rowSum[1]), rowMax[1], h),
    totalOf(sumOf(rowSum[2]), rowMax[2], h), totalOf(sumOf(rowSum[3]), rowMax[3], h),
  );
  for (var r = i32(lane); r < rows; r += LANES) {
    lse[firstRow + lseOf(b, sequence.beginQ, h) + u32(rowBegin + r)] = totals[r / 4].lse[r % 4];
  }
  let rescale = mat4x4f(totals[0].rescale, totals[1].rescale, totals[2].rescale, totals[3].rescale);
  let place = firstRow + u32(sequence.beginQ + rowBegin) * params.nHeads + h;
  storeRows(toTile(scaleAll(o0, rescale)), place, rows, lane);
  if (VECTORS > 1) {
    storeRows(toTile(scaleAll(o1, rescale)), place, rows, LANES + lane);
  }
  if (VECTORS > 2) {
    storeRows(toTile(scaleAll(o2, rescale)), place, rows, 2u * LANES + lane);
    storeRows(toTile(scaleAll(o3, rescale)), place, rows, 3u * LANES + lane);
  }
  if (VECTORS > 4) {
    storeRows(toTile(Rows(scaleRows(o4, rescale[0]), o4, o4, o4)), place, rows, 4u * LANES + lane);
    storeRows(toTile(Rows(scaleRows(o5, rescale[0]), o4, o4, o4)), place, rows, 5u * LANES + lane);
    storeRows(toTile(Rows(scaleRows(o6, rescale[0]), o4, o4, o4)), place, rows, 6u * LANES + lane);
    storeRows(toTile(Rows(scaleRows(o7, rescale[0]), o4, o4, o4)), place, rows, 7u * LANES + lane);
  }
}

fn storeRows(values: Tile, place: u32, rows: i32, vector: u32) {
  var tile = values;
  for (var r = 0; r < rows; r++) {
    storeOut(place + u32(r) * params.nHeads, 4u * vector, tile[r]);
  }
}
