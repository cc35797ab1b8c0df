// add and scale, on one element or on four at a time (elements.wgsl).

struct Params {
  count: u32,
  columns: u32,
  startA: u32,
  strideA: u32,
  startB: u32,
  strideB: u32,
  startOut: u32,
  factor: f32,
}

@group(0) @binding(0) var<storage, read> a: array<Stored>;
@group(0) @binding(1) var<storage, read> b: array<Stored>;
@group(0) @binding(2) var<storage, read_write> out: array<Stored>;
@group(1) @binding(0) var<uniform> params: Params;

// In place, an input is read through `out`: WebGPU binds a buffer that is written once.

fn loadA(i: u32) -> Value {
  if (A_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(a[positionIn(i, params.columns, params.startA, params.strideA)]);
}

fn loadB(i: u32) -> Value {
  if (B_IS_OUT) {
    return Value(out[params.startOut + i]);
  }
  return Value(b[positionIn(i, params.columns, params.startB, params.strideB)]);
}

@compute @workgroup_size(WORKGROUP)
fn add(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i < params.count) {
    out[params.startOut + i] = Stored(loadA(i) + loadB(i));
  }
}

@compute @workgroup_size(WORKGROUP)
fn scale(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = invocationNumber(workgroup, workgroups, local);
  if (i < params.count) {
    out[params.startOut + i] = Stored(params.factor * loadA(i));
  }
}
