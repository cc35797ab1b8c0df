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

// Few places of the text load or store, in loops: a place is what costs code, and so time to compile.

/// Four vectors from `at` on, `stride` apart.
fn fourOperands(at: u32, stride: u32) -> mat4x4f {
  var values: mat4x4f;
  for (var n = 0u; n < times(4u); n++) {
    values = mat4x4f(values[1], values[2], values[3], vec4f(operands[at + n * stride]));
  }
  return values;
}

fn leftMatrix(at: u32, stride: u32) -> LeftMatrix {
  var left: LeftMatrix;
  for (var n = 0u; n < times(2u); n++) {
    left = LeftMatrix(left.second, transpose(fourOperands(at + n, stride)));
  }
  return left;
}

fn leftMatrixOfColumns(at: u32, stride: u32) -> LeftMatrix {
  var left: LeftMatrix;
  for (var n = 0u; n < times(2u); n++) {
    left = LeftMatrix(left.second, fourOperands(at + 4u * n * stride, stride));
  }
  return left;
}

fn rightMatrix(at: u32, stride: u32) -> RightMatrix {
  var right: RightMatrix;
  for (var n = 0u; n < times(8u); n++) {
    let element = f32(operands[at + n * stride + lane / 4u][lane % 4u]);
    right = RightMatrix(vec4f(right.first.yzw, right.second.x), vec4f(right.second.yzw, element));
  }
  return right;
}

fn rightMatrixOfColumns(at: u32, stride: u32) -> RightMatrix {
  let place = at + lane * stride;
  return RightMatrix(vec4f(operands[place]), vec4f(operands[place + 1u]));
}

fn multiplyAdd(left: LeftMatrix, right: RightMatrix, sum: ResultMatrix) -> ResultMatrix {
  return ResultMatrix(left.first * right.first + left.second * right.second + sum.column);
}

fn loadResult(at: u32, stride: u32) -> ResultMatrix {
  var result: ResultMatrix;
  for (var n = 0u; n < times(4u); n++) {
    result = ResultMatrix(vec4f(result.column.yzw, sums[at + n * stride + lane / 4u][lane % 4u]));
  }
  return result;
}

fn storeResult(at: u32, stride: u32, result: ResultMatrix) {
  var rest = result.column;
  for (var n = 0u; n < times(4u); n++) {
    sums[at + n * stride + lane / 4u][lane % 4u] = rest.x;
    rest = rest.yzwx;
  }
}
