// Cross-entropy of logits [rows, vocabSize] with a target a row: lse and loss of each row, a workgroup a row; then one workgroup takes the mean.

struct Params {
  rows: u32,
  vocabSize: u32,
  startLogits: u32,
  strideLogits: u32,
  startTargets: u32,
  startLse: u32,
  startDloss: u32,
  startOut: u32,
  ignoreIndex: i32,
  /// −∞ and NaN, which are not constants in WGSL.
  negativeInfinity: f32,
  notANumber: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<Element>;
@group(0) @binding(1) var<storage, read> targets: array<i32>;
@group(0) @binding(2) var<storage, read> dloss: array<f32>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
/// [rows]: lse − logit of the target, 0 in ignored rows.
@group(0) @binding(4) var<storage, read_write> rowLosses: array<f32>;
/// [1]: the mean of rowLosses.
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
/// [1]: dloss over the number of rows that count.
@group(0) @binding(6) var<storage, read_write> factor: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<Element>;
@group(1) @binding(0) var<uniform> params: Params;

/// Below every logit that is not −∞.
const MASKED = -3.0e38;

fn loadLogit(row: u32, j: u32) -> f32 {
  if (LOGITS_IS_OUT) {
    return f32(out[params.startOut + row * params.vocabSize + j]);
  }
  return f32(logits[params.startLogits + row * params.strideLogits + j]);
}

@compute @workgroup_size(WORKGROUP)
fn crossEntropyForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let base = params.startLogits + row * params.strideLogits;
  // 1. the row's maximum
  var most = MASKED;
  for (var j = local; j < params.vocabSize; j += WORKGROUP) {
    most = max(most, f32(logits[base + j]));
  }
  let rowMax = maxOverWorkgroup(local, most);
  // 2. the sum of exponentials
  var sum = 0.0;
  for (var j = local; j < params.vocabSize; j += WORKGROUP) {
    let logit = f32(logits[base + j]);
    sum += select(exp(logit - rowMax), 0.0, logit <= MASKED);
  }
  let rowSum = sumOverWorkgroup(local, sum);
  if (local > 0u) {
    return;
  }
  // 3. lse and loss
  var rowLse = params.negativeInfinity;
  if (!(rowMax <= MASKED && rowSum == 0.0)) {
    rowLse = rowMax + log(rowSum);
  }
  lse[params.startLse + row] = rowLse;
  let label = targets[params.startTargets + row];
  var rowLoss = 0.0;
  if (label != params.ignoreIndex) {
    if (label >= 0 && u32(label) < params.vocabSize) {
      rowLoss = rowLse - f32(logits[base + u32(label)]);
    } else {
      rowLoss = params.notANumber;
    }
  }
  rowLosses[params.startLse + row] = rowLoss;
}

/// How many rows count. One workgroup.
fn countTargets(local: u32) -> f32 {
  var counted = 0u;
  for (var row = local; row < params.rows; row += WORKGROUP) {
    counted += u32(targets[params.startTargets + row] != params.ignoreIndex);
  }
  return sumOverWorkgroup(local, f32(counted));
}

@compute @workgroup_size(WORKGROUP)
fn crossEntropyMean(@builtin(local_invocation_index) local: u32) {
  let counted = countTargets(local);
  var sum = 0.0;
  for (var row = local; row < params.rows; row += WORKGROUP) {
    sum += rowLosses[row];
  }
  let total = sumOverWorkgroup(local, sum);
  if (local == 0u) {
    if (counted == 0.0) {
      loss[0] = 0.0;
    } else {
      loss[0] = total / counted;
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn crossEntropyFactor(@builtin(local_invocation_index) local: u32) {
  let counted = countTargets(local);
  if (local == 0u) {
    factor[0] = dloss[params.startDloss] / max(counted, 1.0);
  }
}

/// dlogits = factor·(softmax − onehot(target)), 0 in ignored rows.
@compute @workgroup_size(WORKGROUP)
fn crossEntropyBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.y * workgroups.x + workgroup.x;
  if (row >= params.rows) {
    return;
  }
  let label = targets[params.startTargets + row];
  let ignored = label == params.ignoreIndex;
  let rowLse = lse[params.startLse + row];
  for (var j = local; j < params.vocabSize; j += WORKGROUP) {
    var d = 0.0;
    if (!ignored) {
      let p = exp(loadLogit(row, j) - rowLse);
      d = factor[0] * (p - f32(i32(j) == label));
    }
    out[params.startOut + row * params.vocabSize + j] = Element(d);
  }
}
