// Functions on a Value: one f32 or four.

/// 1/(1 + e⁻ˣ). Exponents beyond ±88, where e⁻ˣ leaves f32, change nothing that f32 can hold.
fn sigmoid(x: Value) -> Value {
  return 1.0 / (1.0 + exp(-clamp(x, Value(-88.0), Value(88.0))));
}

/// 2·√(2/π)
const GELU_SCALE = 1.5957691216057308;
const GELU_CUBIC = 0.044715;

/// 2·√(2/π)·(x + 0.044715·x³)
fn geluExponent(x: Value) -> Value {
  return GELU_SCALE * (x + GELU_CUBIC * x * x * x);
}

/// x/2·(1 + tanh(u)) = x·σ(2u): no tanh, which loses its leading bits where it comes near −1.
fn gelu(x: Value) -> Value {
  return x * sigmoid(geluExponent(x));
}
