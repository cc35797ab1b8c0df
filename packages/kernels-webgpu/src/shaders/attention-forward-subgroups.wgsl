// Exact attention, forward, by way of subgroups of exactly LANES lanes: the steps of attention-forward.wgsl without workgroup memory and without barriers.
// For adapters in software, where a shuffle costs as little as an addition and workgroup memory much more.
//
// Nested tiling: a subgroup owns ROWS query rows of one head and walks over tiles of 4·LANES keys. In the scores' phase a lane owns four neighbouring keys of
// the tile, in the output's phase VECTORS·4 columns of V, each against all ROWS rows, in registers. What differs from lane to lane, K and V, comes straight from
// memory, four elements a load, each used for ROWS rows: a load costs as much as 100 multiply-adds there. What all lanes need, Q and P, is in one of them, from
// where shuffles spread it.
//
// Maxima are updated in every tile, without a look at whether they have grown: rescaling O is a hundredth of a tile. What only some tiles need, masks and
// options, is a loop over rows, not a copy for each row: the size of the code decides how long it takes to compile, and whether it fits into caches.

@group(0) @binding(0) var<storage, read> q: array<Vector>;
@group(0) @binding(1) var k: texture_storage_2d<rgba32float, read>;
@group(0) @binding(2) var v: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
/// ALiBi's slopes [B, Hq], then sinks [Hq].
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
/// Of each part of the keys, if they are split.
@group(0) @binding(6) var<storage, read_write> out: array<OutElement>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

const BLOCK_N = 4 * LANES;
const ROWS = 4 * QUADS;
/// Planes of q that fit, and rows of it that each lane has.
const PLANES = VECTORS * LANES;
const LOADS = max(1, ROWS / LANES);
/// Sixteens of rows.
const BLOCKS = (ROWS + 15) / 16;
/// [PLANES][LOADS]
alias QTile = array<vec4f, LOADS * PLANES>;

/// 3. S = q·kᵀ for four elements of the head dim and four keys; from `at` on lane l has rows l, LANES + l … of q.
fn addScores(sums: Rows, qTile: ptr<function, QTile>, at: u32, k4: mat4x4f) -> Rows {
  var s = sums;
  let q0 = qTile[at];
  s.a = addRows(s.a, fromLanes(q0, 0u), k4);
  if (LANES == 8) {
    if (QUADS > 1) {
      s.b = addRows(s.b, fromLanes(q0, 4u), k4);
    }
    if (QUADS > 2) {
      let q1 = qTile[at + 1u];
      s.c = addRows(s.c, fromLanes(q1, 0u), k4);
      s.d = addRows(s.d, fromLanes(q1, 4u), k4);
    }
  } else {
    if (QUADS > 1) {
      s.b = addRows(s.b, fromLanes(qTile[at + 1u], 0u), k4);
    }
    if (QUADS > 2) {
      s.c = addRows(s.c, fromLanes(qTile[at + 2u], 0u), k4);
      s.d = addRows(s.d, fromLanes(qTile[at + 3u], 0u), k4);
    }
  }
  return s;
}

/// Four keys of four columns of v; the last columns again for those beyond, which are not stored.
fn loadV(head: u32, keys: vec4u, column: u32) -> mat4x4f {
  let at = head + keys * (params.rowStrideV / 4u) + min(column, params.planesV - 1u);
  return mat4x4f(texelOf(v, at.x), texelOf(v, at.y), texelOf(v, at.z), texelOf(v, at.w));
}

/// [VECTORS][4]: four keys of a lane's columns.
alias VTile = array<vec4f, 4 * VECTORS>;

fn columnsOf(tile: ptr<function, VTile>, vector: u32) -> mat4x4f {
  let first = min(4u * vector, 4u * VECTORS - 4u);
  return mat4x4f(tile[first], tile[first + 1u], tile[first + 2u], tile[first + 3u]);
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

/// 3. Scores of `rows` rows from `first` on and of keys j: with options where there are any, and masked.
fn changed(s: Rows, first: i32, rows: i32, j: vec4i, run: Run, sequence: Sequence, head: ScoreHead) -> Rows {
  var tile = toTile(s);
  for (var r = 0; r < rows; r++) {
    let i = vec4i(first + r);
    var scores = tile[r];
    if (GENERAL) {
      scores = biasedScores(cappedScores(scores), head, i, j);
    }
    tile[r] = select(vec4f(LOWEST), scores, visible(sequence, run.bits, i, j) & (j < vec4i(run.end)));
  }
  return fromTile(tile);
}

fn dropped(p: Rows, batchHead: u32, first: i32, rows: i32, j4: i32) -> Rows {
  var tile = toTile(p);
  for (var r = 0; r < rows; r++) {
    tile[r] *= dropoutFactors(batchHead, first + r, j4);
  }
  return fromTile(tile);
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
  let kHead = headOf(params.startK, params.batchStrideK, params.rowStrideK, params.headStrideK, b, sequence.beginK, hk) / 4u;
  let vHead = headOf(params.startV, params.batchStrideV, params.rowStrideV, params.headStrideV, b, sequence.beginK, hk) / 4u;
  let lastKey = vec4i(sequence.seqlenK - 1);
  // 1. load the Q tile, LANES rows at a time
  var qTile: QTile;
  for (var row = lane; row < (u32(rows) + LANES - 1u) / LANES * LANES; row += LANES) {
    for (var plane = 0u; plane < params.planes; plane++) {
      qTile[LOADS * plane + row / LANES] = vec4f(q[qHead + min(row, u32(rows) - 1u) * (params.rowStrideQ / 4u) + plane]);
    }
  }

  // Sixteens of rows. O of columns number 0 and 1 of the first is o0 and w0, of the second o1 and w1; with more columns there is one sixteen, and they are o0, w0, o1, …
  var state0 = begin();
  var state1 = begin();
  var o0 = none();
  var w0 = none();
  var o1 = none();
  var w1 = none();
  var o2 = none();
  var w2 = none();
  var o3 = none();
  var w3 = none();

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. this lane's keys
      let j = keyBegin + 4 * i32(lane) + vec4i(0, 1, 2, 3);
      var key = kHead + vec4u(min(j, lastKey)) * (params.rowStrideK / 4u);
      // 3. S = q·kᵀ
      var s0 = none();
      var s1 = none();
      for (var plane = 0u; plane < params.planes; plane++) {
        let k4 = transpose(mat4x4f(texelOf(k, key.x), texelOf(k, key.y), texelOf(k, key.z), texelOf(k, key.w)));
        key += vec4u(1u);
        let at = LOADS * plane;
        s0 = addScores(s0, &qTile, at, k4);
        if (BLOCKS > 1) {
          s1 = addScores(s1, &qTile, at + 16u / LANES, k4);
        }
      }
      // 3. scaled, capped, with ALiBi and bias; 4. masked
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      if (!GENERAL) {
        s0 = scale16(s0, params.softmaxScale);
        if (BLOCKS > 1) {
          s1 = scale16(s1, params.softmaxScale);
        }
      }
      if (GENERAL || !all) {
        s0 = changed(s0, rowBegin, min(16, rows), j, run, sequence, head);
        if (BLOCKS > 1) {
          s1 = changed(s1, rowBegin + 16, min(16, rows - 16), j, run, sequence, head);
        }
      }
      // 4. new maxima, and rescale O; P = exp(S − m), 0 where masked
      let step0 = step(state0, s0);
      state0 = step0.state;
      s0 = step0.p;
      o0 = scaleAll(o0, step0.rescale);
      if (VECTORS > 1) {
        w0 = scaleAll(w0, step0.rescale);
      }
      if (VECTORS > 2) {
        o1 = scaleAll(o1, step0.rescale);
        w1 = scaleAll(w1, step0.rescale);
      }
      if (VECTORS > 4) {
        o2 = scaleAll(o2, step0.rescale);
        w2 = scaleAll(w2, step0.rescale);
        o3 = scaleAll(o3, step0.rescale);
        w3 = scaleAll(w3, step0.rescale);
      }
      if (BLOCKS > 1) {
        let step1 = step(state1, s1);
        state1 = step1.state;
        s1 = step1.p;
        o1 = scaleAll(o1, step1.rescale);
        if (VECTORS > 1) {
          w1 = scaleAll(w1, step1.rescale);
        }
      }
      if (GENERAL && params.hasDropout == 1u) {
        s0 = dropped(s0, head.batchHead, rowBegin, min(16, rows), j.x / 4);
        if (BLOCKS > 1) {
          s1 = dropped(s1, head.batchHead, rowBegin + 16, min(16, rows - 16), j.x / 4);
        }
      }
      // 5. O += P·v, with dropout on P, of which the row sum knows nothing
      let quads = u32(min(BLOCK_N, run.end - keyBegin) + 3) / 4u;
      if (VECTORS > 4) {
        var tile: VTile;
        for (var quad = 0u; quad < quads; quad++) {
          // All columns by one place that loads, for each takes drivers long to compile.
          for (var n = 0u; n < 4u * ((params.planesV + LANES - 1u) / LANES); n++) {
            let key = min(keyBegin + i32(4u * quad + n % 4u), lastKey.x);
            tile[n] = texelOf(v, vHead + u32(key) * (params.rowStrideV / 4u) + min(n / 4u * LANES + lane, params.planesV - 1u));
          }
          o0 = addOutput(o0, s0, quad, columnsOf(&tile, 0u));
          w0 = addOutput(w0, s0, quad, columnsOf(&tile, 1u));
          o1 = addOutput(o1, s0, quad, columnsOf(&tile, 2u));
          w1 = addOutput(w1, s0, quad, columnsOf(&tile, 3u));
          o2 = addOutput(o2, s0, quad, columnsOf(&tile, 4u));
          w2 = addOutput(w2, s0, quad, columnsOf(&tile, 5u));
          o3 = addOutput(o3, s0, quad, columnsOf(&tile, 6u));
          w3 = addOutput(w3, s0, quad, columnsOf(&tile, 7u));
        }
      } else {
        for (var quad = 0u; quad < quads; quad++) {
          let keys = vec4u(min(keyBegin + 4 * i32(quad) + vec4i(0, 1, 2, 3), lastKey));
          let v4 = loadV(vHead, keys, lane);
          o0 = addOutput(o0, s0, quad, v4);
          if (BLOCKS > 1) {
            o1 = addOutput(o1, s1, quad, v4);
          }
          if (VECTORS > 2) {
            o1 = addOutput(o1, s0, quad, loadV(vHead, keys, 2u * LANES + lane));
          }
        }
        if (VECTORS > 1) {
          // A loop of its own: one for all columns would not fit into a processor's instruction cache.
          for (var quad = 0u; quad < quads; quad++) {
            let keys = vec4u(min(keyBegin + 4 * i32(quad) + vec4i(0, 1, 2, 3), lastKey));
            let v4 = loadV(vHead, keys, LANES + lane);
            w0 = addOutput(w0, s0, quad, v4);
            if (BLOCKS > 1) {
              w1 = addOutput(w1, s1, quad, v4);
            }
            if (VECTORS > 2) {
              w1 = addOutput(w1, s0, quad, loadV(vHead, keys, 3u * LANES + lane));
            }
          }
        }
      }
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  let firstRow = split * params.totalQ * params.nHeads;
  let firstLse = firstRow + lseOf(b, sequence.beginQ, h) + u32(rowBegin);
  let place = firstRow + u32(sequence.beginQ + rowBegin) * params.nHeads + h;
  var all: Output;
  let end0 = ending(state0, h);
  storeLse(end0, firstLse, min(16, rows), lane);
  put(&all, 0u, o0, end0.rescale);
  if (VECTORS > 1) {
    put(&all, BLOCKS, w0, end0.rescale);
  }
  if (VECTORS > 2) {
    put(&all, 2u, o1, end0.rescale);
    put(&all, 3u, w1, end0.rescale);
  }
  if (VECTORS > 4) {
    put(&all, 4u, o2, end0.rescale);
    put(&all, 5u, w2, end0.rescale);
    put(&all, 6u, o3, end0.rescale);
    put(&all, 7u, w3, end0.rescale);
  }
  if (BLOCKS > 1) {
    let end1 = ending(state1, h);
    storeLse(end1, firstLse + 16u, min(16, rows - 16), lane);
    put(&all, 1u, o1, end1.rescale);
    if (VECTORS > 1) {
      put(&all, BLOCKS + 1u, w1, end1.rescale);
    }
  }
  // One place that stores, for each takes drivers long to compile.
  for (var vector = lane; vector < params.planesV; vector += LANES) {
    for (var r = 0; r < rows; r++) {
      storeOut(place + u32(r) * params.nHeads, 4u * vector, all[vector / LANES * BLOCKS * 16u + u32(r)]);
    }
  }
}

/// [VECTORS][BLOCKS][16]
alias Output = array<vec4f, VECTORS * BLOCKS * 16>;

fn put(all: ptr<function, Output>, block: u32, o: Rows, rescale: mat4x4f) {
  let tile = toTile(scaleAll(o, rescale));
  for (var r = 0u; r < 16u; r++) {
    all[16u * block + r] = tile[r];
  }
}

fn storeLse(end: Ending, first: u32, rows: i32, lane: u32) {
  var lses = end.lse;
  for (var r = i32(lane); r < rows; r += LANES) {
    lse[first + u32(r)] = lses[r / 4][r % 4];
  }
}
