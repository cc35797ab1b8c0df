// The functions of subgroup-matrix.wgsl in plain WGSL, for tests: MATRIX_N invocations that follow one another are a subgroup, of which each holds all of a
// left matrix, and a column of a right matrix and of a result. MATRIX_M is 4 and MATRIX_K 8, which vectors hold.

struct LeftMatrix {
  /// Column c of the first is step c of k, of the second step 4 + c.
  first: mat4x4f,
  second: mat4x4f,
}

struct RightMatrix {
  first: vec4f,
  second: vec4f,
}

struct ResultMatrix {
  column: vec4f,
}

var<workgroup> operands: array<vec4<Operand>, OPERANDS>;
var<workgroup> sums: array<vec4f, SUMS>;
/// 0, not that compilers could know.
var<workgroup> nothing: u32;
var<private> lane: u32;
/// More than any loop turns, not that compilers could know.
var<private> many: u32;

fn enterSubgroup(local: u32, subgroupId: u32) -> u32 {
  lane = local % MATRIX_N;
  many = select(65536u, 0u, local >= WORKGROUP);
  return local / MATRIX_N;
}

/// Not a constant: loops unrolled over what is memory here, instead of registers, take minutes to compile.
fn times(count: u32) -> u32 {
  return min(count, many);
}

fn timesTogether(count: u32) -> u32 {
  return count + workgroupUniformLoad(&nothing);
}

fn fourOperands(at: u32) -> vec4f {
  return vec4f(operands[at]);
}

fn leftMatrix(at: u32, stride: u32) -> LeftMatrix {
  let end = at + 1u;
  return LeftMatrix(
    transpose(mat4x4f(fourOperands(at), fourOperands(at + stride), fourOperands(at + 2u * stride), fourOperands(at + 3u * stride))),
    transpose(mat4x4f(fourOperands(end), fourOperands(end + stride), fourOperands(end + 2u * stride), fourOperands(end + 3u * stride))),
  );
}

fn leftMatrixOfColumns(at: u32, stride: u32) -> LeftMatrix {
  let end = at + 4u * stride;
  return LeftMatrix(
    mat4x4f(fourOperands(at), fourOperands(at + stride), fourOperands(at + 2u * stride), fourOperands(at + 3u * stride)),
    mat4x4f(fourOperands(end), fourOperands(end + stride), fourOperands(end + 2u * stride), fourOperands(end + 3u * stride)),
  );
}

/// This lane's element of four rows.
fn fourRows(at: u32, stride: u32) -> vec4f {
  let place = at + lane / 4u;
  let e = lane % 4u;
  return vec4f(
    fourOperands(place)[e], fourOperands(place + stride)[e], fourOperands(place + 2u * stride)[e], fourOperands(place + 3u * stride)[e],
  );
}

fn rightMatrix(at: u32, stride: u32) -> RightMatrix {
  return RightMatrix(fourRows(at, stride), fourRows(at + 4u * stride, stride));
}

fn rightMatrixOfColumns(at: u32, stride: u32) -> RightMatrix {
  let place = at + lane * stride;
  return RightMatrix(fourOperands(place), fourOperands(place + 1u));
}

fn multiplyAdd(left: LeftMatrix, right: RightMatrix, sum: ResultMatrix) -> ResultMatrix {
  return ResultMatrix(left.first * right.first + left.second * right.second + sum.column);
}

fn loadResult(at: u32, stride: u32) -> ResultMatrix {
  let place = at + lane / 4u;
  let e = lane % 4u;
  return ResultMatrix(vec4f(sums[place][e], sums[place + stride][e], sums[place + 2u * stride][e], sums[place + 3u * stride][e]));
}

fn storeResult(at: u32, stride: u32, result: ResultMatrix) {
  let place = at + lane / 4u;
  let e = lane % 4u;
  sums[place][e] = result.column.x;
  sums[place + stride][e] = result.column.y;
  sums[place + 2u * stride][e] = result.column.z;
  sums[place + 3u * stride][e] = result.column.w;
}
