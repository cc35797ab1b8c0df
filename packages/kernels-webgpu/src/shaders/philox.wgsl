// Philox4x32-10 (Salmon et al., SC 2011) and the dropout that it decides: core-math/src/philox.ts and dropout.ts.

/// High words of products of 32 × 32 bits.
fn multiplyHigh(a: u32, b: u32) -> u32 {
  let aHigh = a >> 16u;
  let aLow = a & 0xffffu;
  let bHigh = b >> 16u;
  let bLow = b & 0xffffu;
  let middle = aHigh * bLow + ((aLow * bLow) >> 16u);
  return aHigh * bHigh + (middle >> 16u) + ((aLow * bHigh + (middle & 0xffffu)) >> 16u);
}

fn philox4x32(counter: vec4u, seed: vec2u) -> vec4u {
  var c = counter;
  var key = seed;
  for (var round = 0; round < params.philoxRounds; round++) {
    let high0 = multiplyHigh(0xd2511f53u, c.x);
    let high1 = multiplyHigh(0xcd9e8d57u, c.z);
    c = vec4u(high1 ^ c.y ^ key.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

/// What dropout multiplies the probabilities of query i and keys 4·j4 … 4·j4 + 3 by: 0, or 1/(1 − dropoutP).
fn dropoutFactors(batchHead: u32, i: i32, j4: i32) -> vec4f {
  let words = philox4x32(vec4u(u32(j4), u32(i), batchHead, 0u), vec2u(params.seedLow, params.seedHigh));
  return select(vec4f(0.0), vec4f(params.keptFactor), words >= vec4u(params.dropoutThreshold));
}

/// The same of four queries i … i + 3 and one key.
fn dropoutOfRows(batchHead: u32, i: i32, j: i32) -> vec4f {
  var factors: vec4f;
  for (var e = 0; e < 4; e++) {
    factors[e] = dropoutFactors(batchHead, i + e, j / 4)[j % 4];
  }
  return factors;
}
