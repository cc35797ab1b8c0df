// Elements of matmul.wgsl's tensors, four at a time where they come in fours (VECTOR), and one by one elsewhere.

/// Elements `at` … `at + 3` of a row, of which `valid` are there; zeros for the others. (`VectorA(x)` takes one element and four.)
fn loadA(at: u32, valid: u32) -> vec4f {
  if (valid == 0u) {
    return vec4f(0.0);
  }
  if (VECTOR) {
    return vec4f(VectorA(a[at / 4u]));
  }
  var values = vec4f(vec4f(VectorA(a[at])).x, 0.0, 0.0, 0.0);
  for (var i = 1u; i < valid; i++) {
    values[i] = vec4f(VectorA(a[at + i])).x;
  }
  return values;
}

fn loadB(at: u32, valid: u32) -> vec4f {
  if (valid == 0u) {
    return vec4f(0.0);
  }
  if (VECTOR) {
    return vec4f(VectorB(b[at / 4u]));
  }
  var values = vec4f(vec4f(VectorB(b[at])).x, 0.0, 0.0, 0.0);
  for (var i = 1u; i < valid; i++) {
    values[i] = vec4f(VectorB(b[at + i])).x;
  }
  return values;
}

fn loadOut(at: u32, valid: u32) -> vec4f {
  var value = vec4f(0.0);
  for (var j = 0u; j < valid; j++) {
    value[j] = f32(out[at + j]);
  }
  return value;
}

fn storeOut(at: u32, valid: u32, value: vec4f) {
  for (var j = 0u; j < valid; j++) {
    out[at + j] = StoredOut(value[j]);
  }
}

fn storePreActivation(at: u32, valid: u32, value: vec4f) {
  for (var j = 0u; j < valid; j++) {
    preActivation[at + j] = StoredOut(value[j]);
  }
}
