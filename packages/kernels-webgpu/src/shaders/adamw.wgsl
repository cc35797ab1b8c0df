// One step of AdamW in place, a parameter an invocation: arXiv 1711.05101, algorithm 2, in PyTorch's order.

struct Params {
  count: u32,
  columns: u32,
  startParam: u32,
  startGrad: u32,
  strideGrad: u32,
  startExpAvg: u32,
  startExpAvgSq: u32,
  gradScale: f32,
  beta1: f32,
  oneMinusBeta1: f32,
  beta2: f32,
  oneMinusBeta2: f32,
  /// 1 − lr·weightDecay
  decay: f32,
  /// lr/(1 − beta1^step)
  stepSize: f32,
  /// √(1 − beta2^step)
  sqrtCorrection2: f32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> grad: array<Gradient>;
@group(0) @binding(1) var<storage, read_write> param: array<Element>;
@group(0) @binding(2) var<storage, read_write> expAvg: array<State>;
@group(0) @binding(3) var<storage, read_write> expAvgSq: array<State>;
@group(1) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn adamwStep(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i >= params.count) {
    return;
  }
  let g = params.gradScale * f32(grad[positionIn(i, params.columns, params.startGrad, params.strideGrad)]);
  let m = params.beta1 * f32(expAvg[params.startExpAvg + i]) + params.oneMinusBeta1 * g;
  let v = params.beta2 * f32(expAvgSq[params.startExpAvgSq + i]) + params.oneMinusBeta2 * (g * g);
  expAvg[params.startExpAvg + i] = State(m);
  expAvgSq[params.startExpAvgSq + i] = State(v);
  let decayed = f32(param[params.startParam + i]) * params.decay;
  param[params.startParam + i] = Element(decayed - params.stepSize * (m / (sqrt(v) / params.sqrtCorrection2 + params.eps)));
}
