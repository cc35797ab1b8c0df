// Hides what queries may not see: core-math/src/mask.ts, here for four pairs at a time.

/// Whether queries i see keys j: in the sequence, in the band, and shown by the bit mask.
fn visible(sequence: Sequence, bits: i32, i: vec4i, j: vec4i) -> vec4<bool> {
  let diagonal = j - i;
  var seen = (diagonal >= vec4i(sequence.diagonalMin)) & (diagonal <= vec4i(sequence.diagonalMax)) &
    (j < vec4i(sequence.seqlenK)) & (i < vec4i(sequence.seqlenQ));
  if (GENERAL && bits >= 0) {
    let words = (bits * params.maskBlockM + i % params.maskBlockM) * (params.maskBlockN / 32) + (j % params.maskBlockN) / 32;
    for (var e = 0; e < 4; e++) {
      let word = bitcast<u32>(tables[params.maskBits + words[e]]);
      seen[e] = seen[e] && ((word >> u32(j[e] % 32)) & 1u) == 1u;
    }
  }
  return seen;
}
