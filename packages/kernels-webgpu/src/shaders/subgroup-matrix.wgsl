// Products of matrices that the lanes of a subgroup hold together: the innermost of the nested tiles, on the matrix units of a GPU, by Dawn's extension
// chromium_experimental_subgroup_matrix (docs/dawn/features/subgroup_matrix.md there). subgroup-matrix-emulated.wgsl has the same names in plain WGSL, so
// that whatever is built on them runs where there are no such units: only the bodies of this file's functions are out of reach there.
//
// A matrix is opaque: it gets its elements from workgroup memory, and gives them back there. `operands` and `sums` are all the workgroup memory that
// matrices see; the kernel defines how much it needs, OPERANDS and SUMS, in vectors of four. Positions and strides are in such vectors.
// Shapes: left MATRIX_M × MATRIX_K, right MATRIX_K × MATRIX_N, result MATRIX_M × MATRIX_N. Operands are in Operand, f16 or f32, sums always in f32.
//
// Subgroups may be smaller than the largest of the device, and there may be more of them than own a part of a tile (OWNERS): those beyond hold nothing, and
// whoever calls these functions leaves them out.

alias LeftMatrix = subgroup_matrix_left<Operand, MATRIX_K, MATRIX_M>;
alias RightMatrix = subgroup_matrix_right<Operand, MATRIX_N, MATRIX_K>;
alias ResultMatrix = subgroup_matrix_result<f32, MATRIX_N, MATRIX_M>;

var<workgroup> operands: array<vec4<Operand>, OPERANDS>;
var<workgroup> sums: array<vec4f, SUMS>;

/// Called once, first. Returns the number of this invocation's subgroup.
fn enterSubgroup(local: u32, subgroupId: u32) -> u32 {
  return subgroupId;
}

/// How often a loop turns over matrices, or over what an invocation has of their elements: constant, since registers have no index.
fn times(count: u32) -> u32 {
  return count;
}

/// The same, of loops in which all of the workgroup meets.
fn timesTogether(count: u32) -> u32 {
  return count;
}

/// The matrix whose rows, of neighbouring elements, are `stride` apart in operands.
fn leftMatrix(at: u32, stride: u32) -> LeftMatrix {
  return subgroupMatrixLoad<LeftMatrix, row_major>(&operands, at, stride);
}

/// The matrix whose columns, of neighbouring elements, are `stride` apart in operands.
fn leftMatrixOfColumns(at: u32, stride: u32) -> LeftMatrix {
  return subgroupMatrixLoad<LeftMatrix, col_major>(&operands, at, stride);
}

fn rightMatrix(at: u32, stride: u32) -> RightMatrix {
  return subgroupMatrixLoad<RightMatrix, row_major>(&operands, at, stride);
}

fn rightMatrixOfColumns(at: u32, stride: u32) -> RightMatrix {
  return subgroupMatrixLoad<RightMatrix, col_major>(&operands, at, stride);
}

/// left·right + sum
fn multiplyAdd(left: LeftMatrix, right: RightMatrix, sum: ResultMatrix) -> ResultMatrix {
  return subgroupMatrixMultiplyAccumulate(left, right, sum);
}

/// Rows of neighbouring elements, `stride` apart in sums.
fn loadResult(at: u32, stride: u32) -> ResultMatrix {
  return subgroupMatrixLoad<ResultMatrix, row_major>(&sums, at, stride);
}

fn storeResult(at: u32, stride: u32, result: ResultMatrix) {
  subgroupMatrixStore<row_major>(&sums, at, result, stride);
}
