// What the machine can do at best: the yardsticks that kernels are measured against (src/measure-peak.ts).

namespace tilegrad::TILEGRAD_TARGET {

// Independent accumulators: 2 FMA ports × 4 to 5 cycles of latency need 10, and 12 fit in every register file with the two operands.
constexpr int kPeakAccumulators = 12;

// tasks, rounds, sink: each task makes `rounds` × kPeakAccumulators × kLanes multiply-adds and writes one float to sink[task].
void fma_peak(Reader& args, Context& ctx) {
  const int64_t tasks = args.i64();
  const int64_t rounds = args.i64();
  float* sink = args.ptr();
  parallelFor(ctx.pool, tasks, [&](int64_t task, int) {
    VF sums[kPeakAccumulators];
    for (int i = 0; i < kPeakAccumulators; i++) sums[i] = splat(float(i + 1));
    // Read at run time and converging: neither foldable nor a way into subnormals, which are slow.
    const VF factor = splat(0.5f + 1e-7f * float(task));
    const VF term = splat(float(task) + 1.0f);
    for (int64_t round = 0; round < rounds; round++) {
      for (int i = 0; i < kPeakAccumulators; i++) sums[i] = mulAdd(sums[i], factor, term);
    }
    VF total = sums[0];
    for (int i = 1; i < kPeakAccumulators; i++) total = total + sums[i];
    sink[task] = sumLanes(total);
  });
}

}  // namespace tilegrad::TILEGRAD_TARGET
