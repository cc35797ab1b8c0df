// Rows of a table by token, and the gradient of the table: the rows of dout of each token, summed in the order of tokens.

struct Params {
  tokens: u32,
  channels: u32,
  vocabSize: u32,
  startTokens: u32,
  /// Of weight, or of dout.
  startRows: u32,
  strideRows: u32,
  startOut: u32,
  /// 1: the gradient is added to what `dweight` holds.
  accumulate: u32,
}

@group(0) @binding(0) var<storage, read> tokens: array<i32>;
/// weight [vocabSize, channels], or dout [tokens, channels].
@group(0) @binding(1) var<storage, read> rows: array<Element>;
@group(0) @binding(2) var<storage, read_write> out: array<Element>;
@group(0) @binding(3) var<storage, read_write> dweight: array<Target>;
/// [tokens]: the number of the next token of the same kind, or `tokens`; plus FIRST if there is none before.
@group(0) @binding(4) var<storage, read_write> links: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

const FIRST = 0x80000000u;

/// An element an invocation. Tokens outside the table read as zeros.
@compute @workgroup_size(WORKGROUP)
fn embeddingForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local;
  if (i >= params.tokens * params.channels) {
    return;
  }
  let token = tokens[params.startTokens + i / params.channels];
  var value = Element(0.0);
  if (token >= 0 && u32(token) < params.vocabSize) {
    value = rows[params.startRows + u32(token) * params.strideRows + i % params.channels];
  }
  out[i] = value;
}

/// A token an invocation: who comes next, and whether it is the first.
@compute @workgroup_size(WORKGROUP)
fn embeddingBackwardLinks(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local;
  if (i >= params.tokens) {
    return;
  }
  let token = tokens[params.startTokens + i];
  var next = i + 1u;
  while (next < params.tokens && tokens[params.startTokens + next] != token) {
    next++;
  }
  var before = i;
  while (before > 0u && tokens[params.startTokens + before - 1u] != token) {
    before--;
  }
  links[i] = next | select(0u, FIRST, before == 0u);
}

/// The first token of its kind takes a workgroup, which follows the links.
@compute @workgroup_size(WORKGROUP)
fn embeddingBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let first = workgroup.y * workgroups.x + workgroup.x;
  if (first >= params.tokens || (links[first] & FIRST) == 0u) {
    return;
  }
  let token = tokens[params.startTokens + first];
  if (token < 0 || u32(token) >= params.vocabSize) {
    return;
  }
  for (var j = local; j < params.channels; j += WORKGROUP) {
    var sum = 0.0;
    for (var i = first; i < params.tokens; i = links[i] & ~FIRST) {
      sum += f32(rows[params.startRows + i * params.strideRows + j]);
    }
    let at = params.startOut + u32(token) * params.channels + j;
    if (params.accumulate == 1u) {
      sum += f32(dweight[at]);
    }
    dweight[at] = Target(sum);
  }
}
