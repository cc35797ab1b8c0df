// Exact attention, forward, by way of subgroups of exactly LANES lanes: the steps of attention-forward.wgsl without workgroup memory and without barriers.
// For adapters in software, where a shuffle costs as little as an addition and workgroup memory much more.
//
// Nested tiling: a subgroup owns ROWS query rows of one head and walks over tiles of 4·LANES keys. In the scores' phase a lane owns four neighbouring keys of
// the tile, in the output's phase VECTORS·4 columns of V, each against all ROWS rows, in registers. What differs from lane to lane, K and V, comes straight from
// memory, four elements a load, each used for ROWS rows: a load costs as much as 100 multiply-adds there. What all lanes need, Q and P, is in one of them, from
// where shuffles spread it.
//
// Maxima are updated only where a score is beyond 2^SLACK times what they were (FlashAttention-4): in most tiles no lane has to hear of the others, and O stays
// as it is. What only some tiles need, masks and options, is a loop over rows, not a copy for each row: the size of the code decides how long it takes
// to compile, and whether it fits into caches.

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
/// Sixteens of rows.
const BLOCKS = (ROWS + 15) / 16;
/// [VECTORS][16·BLOCKS]: lane l of vector n has elements 4·(n·LANES + l) … + 3 of a row.
alias QTile = array<vec4f, 16 * BLOCKS * VECTORS>;
alias Scores = array<Rows, BLOCKS>;
/// [VECTORS][BLOCKS]: lane l of vector n has columns 4·(n·LANES + l) … + 3.
alias Sums = array<Rows, VECTORS * BLOCKS>;

/// Four steps of a product for sixteen rows, whose factors lane `lane` has, and four columns.
fn addProduct(sums: Rows, factors: Rows, lane: u32, b4: mat4x4f) -> Rows {
  var s = sums;
  s.a = addRows(s.a, fromLane(factors.a, lane), b4);
  if (QUADS > 1) {
    s.b = addRows(s.b, fromLane(factors.b, lane), b4);
  }
  if (QUADS > 2) {
    s.c = addRows(s.c, fromLane(factors.c, lane), b4);
    s.d = addRows(s.d, fromLane(factors.d, lane), b4);
  }
  return s;
}

/// 3. S = q·kᵀ for one vector of q's elements and four keys a lane. Sixteens are the first and the last, which may be the same one.
fn addScores(s: ptr<function, Scores>, qTile: ptr<function, QTile>, vector: u32, keys: vec4u) {
  let begin = min(vector, VECTORS - 1u) * 16u * BLOCKS;
  let q0 = rowsAt(qTile, begin);
  let q1 = rowsAt(qTile, begin + 16u * (BLOCKS - 1u));
  var s0 = s[0];
  var s1 = s[BLOCKS - 1];
  let first = vector * LANES;
  let planes = min(LANES, params.planes - min(params.planes, first));
  var key = keys + first;
  for (var plane = 0u; plane < planes; plane++) {
    let k4 = transpose(mat4x4f(texelOf(k, key.x), texelOf(k, key.y), texelOf(k, key.z), texelOf(k, key.w)));
    key += vec4u(1u);
    s0 = addProduct(s0, q0, plane, k4);
    if (BLOCKS > 1) {
      s1 = addProduct(s1, q1, plane, k4);
    }
  }
  s[0] = s0;
  if (BLOCKS > 1) {
    s[BLOCKS - 1] = s1;
  }
}

fn rowsAt(tile: ptr<function, QTile>, at: u32) -> Rows {
  return Rows(
    mat4x4f(tile[at], tile[at + 1u], tile[at + 2u], tile[at + 3u]),
    mat4x4f(tile[at + 4u], tile[at + 5u], tile[at + 6u], tile[at + 7u]),
    mat4x4f(tile[at + 8u], tile[at + 9u], tile[at + 10u], tile[at + 11u]),
    mat4x4f(tile[at + 12u], tile[at + 13u], tile[at + 14u], tile[at + 15u]),
  );
}

/// 5. O += P·v for one vector of columns and `quads` times four keys. A loop for each vector: one for all would not fit into a processor's instruction cache.
fn addOutput(o: ptr<function, Sums>, p: ptr<function, Scores>, vector: u32, head: u32, keyBegin: i32, quads: u32, lastKey: i32, lane: u32) {
  let place = min(vector, VECTORS - 1u) * BLOCKS;
  let p0 = p[0];
  let p1 = p[BLOCKS - 1];
  var o0 = o[place];
  var o1 = o[place + BLOCKS - 1u];
  // The last columns again for those beyond, which are not stored.
  let column = head + min(vector * LANES + lane, params.planesV - 1u);
  for (var quad = 0u; quad < quads; quad++) {
    let at = column + vec4u(min(keyBegin + 4 * i32(quad) + vec4i(0, 1, 2, 3), vec4i(lastKey))) * (params.rowStrideV / 4u);
    let v4 = mat4x4f(texelOf(v, at.x), texelOf(v, at.y), texelOf(v, at.z), texelOf(v, at.w));
    o0 = addProduct(o0, p0, quad, v4);
    if (BLOCKS > 1) {
      o1 = addProduct(o1, p1, quad, v4);
    }
  }
  o[place] = o0;
  if (BLOCKS > 1) {
    o[place + BLOCKS - 1u] = o1;
  }
}

/// 4. O of one vector of columns, rescaled.
fn rescaleOutput(o: ptr<function, Sums>, vector: u32, factors0: mat4x4f, factors1: mat4x4f) {
  let place = min(vector, VECTORS - 1u) * BLOCKS;
  o[place] = scaleAll(o[place], factors0);
  if (BLOCKS > 1) {
    o[place + BLOCKS - 1u] = scaleAll(o[place + BLOCKS - 1u], factors1);
  }
}

/// 3. Scores of `rows` rows from `first` on and of keys j: scaled and with options where there are any, and masked.
fn changed(s: Rows, first: i32, rows: i32, j: vec4i, run: Run, sequence: Sequence, head: ScoreHead) -> Rows {
  var tile = toTile(s);
  for (var r = 0; r < rows; r++) {
    let i = vec4i(first + r);
    var scores = tile[r];
    if (GENERAL) {
      scores = LOG2_E * biasedScores(cappedScores(scores), head, i, j);
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
  let lastKey = sequence.seqlenK - 1;
  // 1. load the Q tile, scaled, for exponentials to the base of 2
  let scale = select(params.softmaxScale * LOG2_E, 1.0, GENERAL);
  var qTile: QTile;
  for (var plane = lane; plane < params.planes; plane += LANES) {
    for (var row = 0u; row < u32(rows); row++) {
      qTile[plane / LANES * 16u * BLOCKS + row] = scale * vec4f(q[qHead + row * (params.rowStrideQ / 4u) + plane]);
    }
  }

  var states: array<State, BLOCKS>;
  states[0] = begin();
  states[BLOCKS - 1] = begin();
  var o: Sums;

  let visited = partOf(visitedKeys(sequence, rowBegin, min(rowEnd, sequence.seqlenQ)), split, BLOCK_N);
  let runs = runsOfRows(b, h, rowBegin);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, BLOCK_N);
    for (var keyBegin = run.begin; keyBegin < run.end; keyBegin += BLOCK_N) {
      // 2. this lane's keys
      let j = keyBegin + 4 * i32(lane) + vec4i(0, 1, 2, 3);
      let keys = kHead + vec4u(min(j, vec4i(lastKey))) * (params.rowStrideK / 4u);
      // 3. S = q·kᵀ
      var s = Scores();
      addScores(&s, &qTile, 0u, keys);
      if (VECTORS > 1) {
        addScores(&s, &qTile, 1u, keys);
      }
      if (VECTORS > 2) {
        addScores(&s, &qTile, 2u, keys);
        addScores(&s, &qTile, 3u, keys);
      }
      if (VECTORS > 4) {
        addScores(&s, &qTile, 4u, keys);
        addScores(&s, &qTile, 5u, keys);
        addScores(&s, &qTile, 6u, keys);
        addScores(&s, &qTile, 7u, keys);
      }
      // 3. capped, with ALiBi and bias; 4. masked
      let all = full(sequence, rowBegin, rowEnd, keyBegin, keyBegin + BLOCK_N) && run.bits < 0 && keyBegin + BLOCK_N <= run.end;
      if (GENERAL || !all) {
        s[0] = changed(s[0], rowBegin, min(16, rows), j, run, sequence, head);
        if (BLOCKS > 1) {
          s[BLOCKS - 1] = changed(s[BLOCKS - 1], rowBegin + 16, min(16, rows - 16), j, run, sequence, head);
        }
      }
      // 4. new maxima, and rescale O, where a score is far beyond the old ones
      let growth = max(growthOf(states[0], s[0]), growthOf(states[BLOCKS - 1], s[BLOCKS - 1]));
      if (subgroupAny(growth > SLACK)) {
        let factors0 = grow(&states[0], s[0]);
        var factors1 = factors0;
        if (BLOCKS > 1) {
          factors1 = grow(&states[BLOCKS - 1], s[BLOCKS - 1]);
        }
        rescaleOutput(&o, 0u, factors0, factors1);
        if (VECTORS > 1) {
          rescaleOutput(&o, 1u, factors0, factors1);
        }
        if (VECTORS > 2) {
          rescaleOutput(&o, 2u, factors0, factors1);
          rescaleOutput(&o, 3u, factors0, factors1);
        }
        if (VECTORS > 4) {
          rescaleOutput(&o, 4u, factors0, factors1);
          rescaleOutput(&o, 5u, factors0, factors1);
          rescaleOutput(&o, 6u, factors0, factors1);
          rescaleOutput(&o, 7u, factors0, factors1);
        }
      }
      // 4. P = exp(S − m), 0 where masked
      s[0] = probabilities(s[0], &states[0]);
      if (BLOCKS > 1) {
        s[BLOCKS - 1] = probabilities(s[BLOCKS - 1], &states[BLOCKS - 1]);
      }
      if (GENERAL && params.hasDropout == 1u) {
        s[0] = dropped(s[0], head.batchHead, rowBegin, min(16, rows), j.x / 4);
        if (BLOCKS > 1) {
          s[BLOCKS - 1] = dropped(s[BLOCKS - 1], head.batchHead, rowBegin + 16, min(16, rows - 16), j.x / 4);
        }
      }
      // 5. O += P·v, with dropout on P, of which the row sum knows nothing
      let quads = u32(min(BLOCK_N, run.end - keyBegin) + 3) / 4u;
      addOutput(&o, &s, 0u, vHead, keyBegin, quads, lastKey, lane);
      if (VECTORS > 1) {
        addOutput(&o, &s, 1u, vHead, keyBegin, quads, lastKey, lane);
      }
      if (VECTORS > 2) {
        addOutput(&o, &s, 2u, vHead, keyBegin, quads, lastKey, lane);
        addOutput(&o, &s, 3u, vHead, keyBegin, quads, lastKey, lane);
      }
      if (VECTORS > 4) {
        addOutput(&o, &s, 4u, vHead, keyBegin, quads, lastKey, lane);
        addOutput(&o, &s, 5u, vHead, keyBegin, quads, lastKey, lane);
        addOutput(&o, &s, 6u, vHead, keyBegin, quads, lastKey, lane);
        addOutput(&o, &s, 7u, vHead, keyBegin, quads, lastKey, lane);
      }
    }
  }

  // 6. divide by the row sums once, the sink's share counted, and write O and lse
  let firstRow = split * params.totalQ * params.nHeads;
  let firstLse = firstRow + lseOf(b, sequence.beginQ, h) + u32(rowBegin);
  let place = firstRow + u32(sequence.beginQ + rowBegin) * params.nHeads + h;
  let end0 = ending(states[0], h);
  storeLse(end0, firstLse, min(16, rows), lane);
  var end1 = end0;
  if (BLOCKS > 1) {
    end1 = ending(states[BLOCKS - 1], h);
    storeLse(end1, firstLse + 16u, min(16, rows - 16), lane);
  }
  var all: Output;
  put(&all, &o, 0u, end0.rescale, end1.rescale);
  if (VECTORS > 1) {
    put(&all, &o, 1u, end0.rescale, end1.rescale);
  }
  if (VECTORS > 2) {
    put(&all, &o, 2u, end0.rescale, end1.rescale);
    put(&all, &o, 3u, end0.rescale, end1.rescale);
  }
  if (VECTORS > 4) {
    put(&all, &o, 4u, end0.rescale, end1.rescale);
    put(&all, &o, 5u, end0.rescale, end1.rescale);
    put(&all, &o, 6u, end0.rescale, end1.rescale);
    put(&all, &o, 7u, end0.rescale, end1.rescale);
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

fn put(all: ptr<function, Output>, o: ptr<function, Sums>, vector: u32, rescale0: mat4x4f, rescale1: mat4x4f) {
  rescaleOutput(o, vector, rescale0, rescale1);
  let place = min(vector, VECTORS - 1u) * BLOCKS;
  let tile0 = toTile(o[place]);
  let tile1 = toTile(o[place + BLOCKS - 1u]);
  for (var r = 0u; r < 16u; r++) {
    all[16u * place + r] = tile0[r];
    all[16u * (place + BLOCKS - 1u) + r] = tile1[r];
  }
}

fn storeLse(end: Ending, first: u32, rows: i32, lane: u32) {
  var lses = end.lse;
  for (var r = i32(lane); r < rows; r += LANES) {
    lse[first + u32(r)] = lses[r / 4][r % 4];
  }
}
