// What the kernels of attention forward share: sums in registers, a row by four columns a vector, and what becomes of them in the end.

/// What maxima begin with: above LOWEST, so that exp(LOWEST − maximum) is 0 in rows that see nothing.
const FLOOR = -1.5e38;

/// Four steps of a product for one row and four columns: sum + Σ_t factors[t]·(row t of b).
fn addRow(sum: vec4f, factors: vec4f, b4: mat4x4f) -> vec4f {
  let two = fma(vec4f(factors.y), b4[1], fma(vec4f(factors.x), b4[0], sum));
  return fma(vec4f(factors.w), b4[3], fma(vec4f(factors.z), b4[2], two));
}

fn most4(x: vec4f) -> f32 {
  return max(max(x.x, x.y), max(x.z, x.w));
}

fn sum4(x: vec4f) -> f32 {
  return (x.x + x.y) + (x.z + x.w);
}

/// What four rows end with: lse, and the factor that divides O.
struct Total {
  lse: vec4f,
  rescale: vec4f,
}

/// Of row sums and maxima, the sink's share counted, unless the merge of parts counts it.
fn totalOf(rowSum: vec4f, rowMax: vec4f, h: u32) -> Total {
  var sum = rowSum;
  var most = rowMax;
  var own = vec4f(1.0);
  if (GENERAL && params.hasHeads == 1u && params.nSplits == 1u) {
    let sink = max(heads[params.batchSize * params.nHeads + h], LOWEST);
    most = max(rowMax, vec4f(sink));
    own = exp(rowMax - most);
    sum = sum * own + select(vec4f(0.0), exp(sink - most), vec4<bool>(sink > LOWEST));
  }
  let nothing = sum == vec4f(0.0);
  return Total(select(most + log(sum), vec4f(params.minusInfinity), nothing), select(own / sum, vec4f(0.0), nothing));
}

/// Elements d … d + 3 of a row of out, those that it has.
fn storeOut(row: u32, d: u32, value: vec4f) {
  for (var e = 0u; e < 4u; e++) {
    if (d + e < params.headDimV) {
      out[row * params.headDimV + d + e] = OutElement(value[e]);
    }
  }
}

/// One of nSplits parts of the keys, in whole tiles.
fn partOf(keys: Range, split: u32, blockN: i32) -> Range {
  if (params.nSplits == 1u) {
    return keys;
  }
  let first = keys.begin / blockN;
  let tiles = max(0, (keys.end + blockN - 1) / blockN - first);
  let begin = first + tiles * i32(split) / i32(params.nSplits);
  let end = first + tiles * i32(split + 1u) / i32(params.nSplits);
  return Range(max(keys.begin, begin * blockN), min(keys.end, end * blockN));
}
