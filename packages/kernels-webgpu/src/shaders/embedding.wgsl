// Rows of a table by token, and the gradient of the table: the rows of dout of each token, summed in the order of tokens.
// A table may be bound in parts: rows firstRow, … of it at a time.

struct Params {
  tokens: u32,
  channels: u32,
  vocabSize: u32,
  /// Of the table: those that are bound.
  firstRow: u32,
  rowsBound: u32,
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
/// [vocabSize]: 1 + the number of the last token of that kind so far, or 0.
@group(0) @binding(5) var<storage, read_write> last: array<u32>;
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
  // Negative ones are beyond every table too.
  let token = u32(tokens[params.startTokens + i / params.channels]);
  if (token < params.vocabSize) {
    let row = token - params.firstRow;
    if (token >= params.firstRow && row < params.rowsBound) {
      out[params.startOut + i] = rows[params.startRows + row * params.strideRows + i % params.channels];
    }
  } else if (params.firstRow == 0u) {
    out[params.startOut + i] = Element(0.0);
  }
}

/// Who comes next, and whether a token is the first of its kind. An invocation goes through all tokens and takes care of its share of the
/// vocabulary, those of number `invocation` modulo INVOCATIONS: work is linear in the tokens, and nobody else writes what it writes.
@compute @workgroup_size(WORKGROUP)
fn embeddingBackwardLinks(@builtin(global_invocation_id) id: vec3u) {
  for (var i = 0u; i < params.tokens; i++) {
    let token = u32(tokens[params.startTokens + i]);
    if (token % INVOCATIONS != id.x || token >= params.vocabSize) {
      continue;
    }
    let before = last[token];
    if (before == 0u) {
      links[i] = params.tokens | FIRST;
    } else {
      links[i] = params.tokens;
      links[before - 1u] = (links[before - 1u] & FIRST) | i;
    }
    last[token] = i + 1u;
  }
}

/// The first token of its kind takes a workgroup, which follows the links.
@compute @workgroup_size(WORKGROUP)
fn embeddingBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let first = workgroup.y * workgroups.x + workgroup.x;
  if (first >= params.tokens) {
    return;
  }
  let token = u32(tokens[params.startTokens + first]);
  let row = token - params.firstRow;
  if (token >= params.vocabSize || token < params.firstRow || row >= params.rowsBound || (links[first] & FIRST) == 0u) {
    return;
  }
  for (var j = local; j < params.channels; j += WORKGROUP) {
    var sum = 0.0;
    for (var i = first; i < params.tokens; i = links[i] & ~FIRST) {
      sum += f32(rows[params.startRows + i * params.strideRows + j]);
    }
    let at = params.startOut + row * params.channels + j;
    if (params.accumulate == 1u) {
      sum += f32(dweight[at]);
    }
    dweight[at] = Target(sum);
  }
}
