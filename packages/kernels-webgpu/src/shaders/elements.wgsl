// Shared by the elementwise kernels. `Value` is one element in f32 or four, `Stored` the same as memory holds it. Inputs are rows whose
// elements are neighbours, results are contiguous; all positions are in Values.

const WORKGROUP = 256u;

/// Number of this invocation over all workgroups of a grid.
fn invocationNumber(workgroup: vec3u, workgroups: vec3u, local: u32) -> u32 {
  return (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local;
}

/// Position of Value `i` of an input of rows of `columns` Values, `stride` apart.
fn positionIn(i: u32, columns: u32, start: u32, stride: u32) -> u32 {
  return start + (i / columns) * stride + i % columns;
}
