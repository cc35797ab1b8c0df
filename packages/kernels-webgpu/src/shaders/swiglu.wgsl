// gate·σ(gate)·up and its gradient, on one element or on four at a time (elements.wgsl).

struct Params {
  count: u32,
  columns: u32,
  startGate: u32,
  strideGate: u32,
  startUp: u32,
  strideUp: u32,
  startDout: u32,
  strideDout: u32,
  startOut: u32,
  startDup: u32,
}

@group(0) @binding(0) var<storage, read> gate: array<Stored>;
@group(0) @binding(1) var<storage, read> up: array<Stored>;
@group(0) @binding(2) var<storage, read> dout: array<Stored>;
/// Forward the result, backward dgate.
@group(0) @binding(3) var<storage, read_write> out: array<Stored>;
@group(0) @binding(4) var<storage, read_write> dup: array<Stored>;
@group(1) @binding(0) var<uniform> params: Params;

fn loadGate(i: u32) -> Value {
  if (GATE_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(gate[positionIn(i, params.columns, params.startGate, params.strideGate)]);
}

fn loadUp(i: u32) -> Value {
  if (UP_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(up[positionIn(i, params.columns, params.startUp, params.strideUp)]);
}

@compute @workgroup_size(WORKGROUP)
fn swigluForward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i < params.count) {
    let g = loadGate(i);
    out[params.startOut + i] = Stored(g * sigmoid(g) * loadUp(i));
  }
}

@compute @workgroup_size(WORKGROUP)
fn swigluBackward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i >= params.count) {
    return;
  }
  let d = Value(dout[positionIn(i, params.columns, params.startDout, params.strideDout)]);
  let g = loadGate(i);
  let e = expOfNegative(g);
  let s = 1.0 / (1.0 + e);
  // d silu/dg = σ·(1 + g·(1 − σ)), where 1 − σ = e·σ does not cancel
  out[params.startOut + i] = Stored(d * loadUp(i) * (s * (1.0 + g * (e * s))));
  dup[params.startDup + i] = Stored(d * g * s);
}
