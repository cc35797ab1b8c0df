// Softmax over whole rows, a workgroup a row: x [rows, seqlenK] → probabilities, and its gradient.

struct Params {
  /// Number of the first row of this dispatch among all, and how many it has.
  firstRow: u32,
  rows: u32,
  seqlenQ: u32,
  seqlenK: u32,
  startX: u32,
  strideX: u32,
  startDout: u32,
  strideDout: u32,
  startOut: u32,
  scale: f32,
  causal: u32,
}

/// Forward the scores, backward the probabilities.
@group(0) @binding(0) var<storage, read> x: array<Element>;
@group(0) @binding(1) var<storage, read> dout: array<Element>;
/// Forward the probabilities, backward dx.
@group(0) @binding(2) var<storage, read_write> out: array<Element>;
@group(1) @binding(0) var<uniform> params: Params;

/// Below every score that is not −∞.
const MASKED = -3.0e38;

fn loadX(row: u32, j: u32) -> f32 {
  if (X_IS_OUT) {
    return f32(out[params.startOut + row * params.seqlenK + j]);
  }
  return f32(x[params.startX + row * params.strideX + j]);
}

fn loadDout(row: u32, j: u32) -> f32 {
  if (DOUT_IS_OUT) {
    return f32(out[params.startOut + row * params.seqlenK + j]);
  }
  return f32(dout[params.startDout + row * params.strideDout + j]);
}

@compute @workgroup_size(WORKGROUP)
fn softmaxForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  // Keys 0 … visible − 1: j ≤ i + seqlenK − seqlenQ.
  var visible = params.seqlenK;
  if (params.causal == 1u) {
    let reach = (params.firstRow + row) % params.seqlenQ + 1u + params.seqlenK;
    visible = min(params.seqlenK, reach - min(reach, params.seqlenQ));
  }
  // 1. the row's maximum
  var most = MASKED;
  for (var j = local; j < visible; j += WORKGROUP) {
    most = max(most, params.scale * loadX(row, j));
  }
  let rowMax = maxOverWorkgroup(local, most);
  // 2. the sum of exponentials
  var sum = 0.0;
  for (var j = local; j < visible; j += WORKGROUP) {
    let score = params.scale * loadX(row, j);
    sum += select(exp(score - rowMax), 0.0, score <= MASKED);
  }
  let rowSum = sumOverWorkgroup(local, sum);
  // 3. the probabilities; a row that keeps nothing is 0
  for (var j = local; j < params.seqlenK; j += WORKGROUP) {
    var p = 0.0;
    if (j < visible) {
      let score = params.scale * loadX(row, j);
      if (!(score <= MASKED)) {
        p = exp(score - rowMax) / rowSum;
      }
    }
    out[params.startOut + row * params.seqlenK + j] = Element(p);
  }
}

/// dx = scale·out·(dout − Σ dout·out)
@compute @workgroup_size(WORKGROUP)
fn softmaxBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  var sum = 0.0;
  for (var j = local; j < params.seqlenK; j += WORKGROUP) {
    sum += loadDout(row, j) * loadX(row, j);
  }
  let delta = sumOverWorkgroup(local, sum);
  for (var j = local; j < params.seqlenK; j += WORKGROUP) {
    out[params.startOut + row * params.seqlenK + j] = Element(params.scale * (loadX(row, j) * (loadDout(row, j) - delta)));
  }
}
