// The product of matmul.wgsl by way of subgroups of exactly SUBGROUP lanes: every lane loads other elements of a, and all get them by
// shuffles; b comes straight from memory. For adapters in software, where a shuffle costs as little as an addition, and workgroup memory much more.
// Lanes hold the same 16 rows and different columns, four each, as four matrices: column r of matrix g is row 4·g + r of the tile.
// `VECTOR` is true: what is contiguous comes in fours.

/// Four rows more of a tile: sums + Σ_t (step t of k of rows first …)·(row t of b). `values` are four steps of k of row `lane`.
fn addRows(sums: mat4x4f, values: vec4f, first: u32, b4: mat4x4f) -> mat4x4f {
  return mat4x4f(
    addRow(sums[0], subgroupShuffle(values, first), b4),
    addRow(sums[1], subgroupShuffle(values, first + 1u), b4),
    addRow(sums[2], subgroupShuffle(values, first + 2u), b4),
    addRow(sums[3], subgroupShuffle(values, first + 3u), b4),
  );
}

fn addRow(sum: vec4f, factors: vec4f, b4: mat4x4f) -> vec4f {
  let two = fma(vec4f(factors.y), b4[1], fma(vec4f(factors.x), b4[0], sum));
  return fma(vec4f(factors.w), b4[3], fma(vec4f(factors.z), b4[2], two));
}

/// The same where `values` are four rows of step `lane` of k.
fn addColumns(sums: mat4x4f, values: vec4f, first: u32, b4: mat4x4f) -> mat4x4f {
  let two = addOuter(addOuter(sums, subgroupShuffle(values, first), b4[0]), subgroupShuffle(values, first + 1u), b4[1]);
  return addOuter(addOuter(two, subgroupShuffle(values, first + 2u), b4[2]), subgroupShuffle(values, first + 3u), b4[3]);
}

fn addOuter(sums: mat4x4f, factors: vec4f, row: vec4f) -> mat4x4f {
  return mat4x4f(
    fma(vec4f(factors.x), row, sums[0]),
    fma(vec4f(factors.y), row, sums[1]),
    fma(vec4f(factors.z), row, sums[2]),
    fma(vec4f(factors.w), row, sums[3]),
  );
}

/// Four steps of k, from kStart on, of a row of a; of the last row for those beyond.
fn loadRow(base: u32, row: u32, kStart: u32) -> vec4f {
  return vec4f(VectorA(a[(base + min(row, params.m - 1u) * params.rowStrideA + kStart) / 4u]));
}

/// Four rows, from mStart on, of a step of k of aᵀ; zeros for steps beyond the last.
fn loadColumn(base: u32, step: u32, mStart: u32) -> vec4f {
  if (step >= params.k) {
    return vec4f(0.0);
  }
  return vec4f(VectorA(a[(base + step * params.rowStrideA + min(mStart, params.m - 4u)) / 4u]));
}

fn loadVectorB(at: u32) -> vec4f {
  return vec4f(VectorB(b[at / 4u]));
}

/// Rows kStart … kStart + 3 of b, four columns of them. Rows beyond the last repeat it: their factors are 0.
fn loadB4(base: u32, kStart: u32, column: u32) -> mat4x4f {
  let last = params.k - 1u;
  let stride = params.rowStrideB;
  if (TRANSPOSE_B) {
    // b [n, k]: four neighbours along k of each of four columns
    let at = base + kStart;
    let end = params.n - 1u;
    return transpose(mat4x4f(
      loadVectorB(at + column * stride),
      loadVectorB(at + min(column + 1u, end) * stride),
      loadVectorB(at + min(column + 2u, end) * stride),
      loadVectorB(at + min(column + 3u, end) * stride),
    ));
  }
  return mat4x4f(
    loadVectorB(base + column + kStart * stride),
    loadVectorB(base + column + min(kStart + 1u, last) * stride),
    loadVectorB(base + column + min(kStart + 2u, last) * stride),
    loadVectorB(base + column + min(kStart + 3u, last) * stride),
  );
}

fn loadOut(at: u32, valid: u32) -> vec4f {
  return vec4f(out[at / 4u]);
}

fn storeOut(at: u32, valid: u32, value: vec4f) {
  out[at / 4u] = StoredOut(value);
}

fn storePreActivation(at: u32, valid: u32, value: vec4f) {
  preActivation[at / 4u] = StoredOut(value);
}

fn product(batch: u32, mStart: u32, nStart: u32, local: u32) -> Sums {
  let lane = subgroupExclusiveAdd(1u);
  let baseA = params.startA + batch * params.batchStrideA;
  let baseB = params.startB + batch * params.batchStrideB;
  // Lanes beyond the last column repeat it, and store nothing.
  let column = min(nStart + 4u * local, (params.n - 1u) & ~3u);
  var s0: mat4x4f;
  var s1: mat4x4f;
  var s2: mat4x4f;
  var s3: mat4x4f;
  if (TRANSPOSE_A) {
    for (var kStart = 0u; kStart < params.k; kStart += SUBGROUP) {
      // 1. load step kStart + lane of the 16 rows
      let c0 = loadColumn(baseA, kStart + lane, mStart);
      let c1 = loadColumn(baseA, kStart + lane, mStart + 4u);
      let c2 = loadColumn(baseA, kStart + lane, mStart + 8u);
      let c3 = loadColumn(baseA, kStart + lane, mStart + 12u);
      // 2. multiply four steps at a time
      for (var j = 0u; j < SUBGROUP; j += 4u) {
        let b4 = loadB4(baseB, min(kStart + j, params.k - 1u), column);
        s0 = addColumns(s0, c0, j, b4);
        s1 = addColumns(s1, c1, j, b4);
        s2 = addColumns(s2, c2, j, b4);
        s3 = addColumns(s3, c3, j, b4);
      }
    }
  } else {
    for (var kStart = 0u; kStart < params.k; kStart += 4u) {
      let b4 = loadB4(baseB, kStart, column);
      // 1. load four steps of as many rows as there are lanes; 2. multiply
      let r0 = loadRow(baseA, mStart + lane, kStart);
      s0 = addRows(s0, r0, 0u, b4);
      if (SUBGROUP == 8) {
        s1 = addRows(s1, r0, 4u, b4);
        let r1 = loadRow(baseA, mStart + 8u + lane, kStart);
        s2 = addRows(s2, r1, 0u, b4);
        s3 = addRows(s3, r1, 4u, b4);
      } else {
        s1 = addRows(s1, loadRow(baseA, mStart + 4u + lane, kStart), 0u, b4);
        s2 = addRows(s2, loadRow(baseA, mStart + 8u + lane, kStart), 0u, b4);
        s3 = addRows(s3, loadRow(baseA, mStart + 12u + lane, kStart), 0u, b4);
      }
    }
  }
  return toSums(s0, s1, s2, s3);
}

fn toSums(s0: mat4x4f, s1: mat4x4f, s2: mat4x4f, s3: mat4x4f) -> Sums {
  var matrices = array(s0, s1, s2, s3);
  var sums: Sums;
  for (var i = 0u; i < THREAD_M; i++) {
    sums[i][0] = matrices[i / 4u][i % 4u];
  }
  return sums;
}
