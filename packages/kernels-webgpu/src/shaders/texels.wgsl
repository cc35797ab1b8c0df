// Textures as arrays of vec4f: adapters in software read them five times as fast as buffers, whose bounds they check lane by lane and element by element.

/// Mirrors buffer-pool.ts.
const TEXELS_A_ROW = 1024u;

fn texelOf(vectors: texture_storage_2d<rgba32float, read>, i: u32) -> vec4f {
  return textureLoad(vectors, vec2u(i % TEXELS_A_ROW, i / TEXELS_A_ROW));
}
