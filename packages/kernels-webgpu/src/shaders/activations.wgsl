// Functions on a Value: one f32 or four.

/// e⁻ˣ, kept within what f32 can hold: beyond, σ is 0 or 1 to the last bit.
fn expOfNegative(x: Value) -> Value {
  return exp(-clamp(x, Value(-87.0), Value(87.0)));
}

/// σ(x) = 1/(1 + e⁻ˣ)
fn sigmoid(x: Value) -> Value {
  return 1.0 / (1.0 + expOfNegative(x));
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
