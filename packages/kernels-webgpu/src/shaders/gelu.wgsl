// Tanh gelu and its gradient, on one element or on four at a time (elements.wgsl).

struct Params {
  count: u32,
  columns: u32,
  startX: u32,
  strideX: u32,
  startDout: u32,
  strideDout: u32,
  startOut: u32,
}

@group(0) @binding(0) var<storage, read> x: array<Stored>;
@group(0) @binding(1) var<storage, read> dout: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;
@group(1) @binding(0) var<uniform> params: Params;

fn loadX(i: u32) -> Value {
  if (X_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(x[positionIn(i, params.columns, params.startX, params.strideX)]);
}

fn loadDout(i: u32) -> Value {
  if (DOUT_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(dout[positionIn(i, params.columns, params.startDout, params.strideDout)]);
}

@compute @workgroup_size(WORKGROUP)
fn geluForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i < params.count) {
    out[params.startOut + i] = Stored(gelu(loadX(i)));
  }
}

@compute @workgroup_size(WORKGROUP)
fn geluBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i >= params.count) {
    return;
  }
  let v = loadX(i);
  let e = expOfNegative(geluExponent(v));
  let s = 1.0 / (1.0 + e);
  // d(v·σ(u))/dv = σ + v·σ·(1 − σ)·du/dv, where 1 − σ = e·σ does not cancel
  let slope = GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * v * v);
  out[params.startOut + i] = Stored(loadDout(i) * (s + v * (e * s * s) * slope));
}
