import type { WebGPUBackend } from './backend'
import { fmaPeak, WORKGROUP } from './kernels/fma-peak'

/** What the device does at best. */
export interface WebGPUPeak {
  /** float32 operations per second, a multiply-add counted as two. */
  readonly flopsPerSecond: number
}

/** Invocations: enough for the largest of devices. */
const INVOCATIONS = 2 ** 15
// Mirrors the chains of shaders/fma-peak.wgsl, a multiply-add counted as two.
const FLOPS_A_ROUND = 12 * 2
const RUNS = 5
const SECONDS_A_RUN = 0.02
/** In one dispatch, because drivers end what takes seconds. */
const MOST_ROUNDS = 2 ** 20

/** Measures the multiply-add peak of shaders in about 0.3 s: the best of several runs, after a warm-up that also sets their length. */
export async function measurePeak(backend: WebGPUBackend): Promise<WebGPUPeak> {
  const sink = backend.empty([INVOCATIONS])
  try {
    const peaks = [await measure(backend, sink, true), await measure(backend, sink, false)]
    return { flopsPerSecond: Math.max(...peaks) }
  } finally {
    sink.dispose()
  }
}

async function measure(backend: WebGPUBackend, sink: ReturnType<WebGPUBackend['empty']>, fused: boolean): Promise<number> {
  const constants = { FUSED: fused, WORKGROUP }
  const seconds = async (rounds: number) => {
    await backend.sync()
    const start = performance.now()
    const params = { rounds, factor: 0.999 }
    const workgroups = [INVOCATIONS / WORKGROUP, 1, 1] as const
    backend.context.run({ shader: fmaPeak, entry: 'fmaPeak', constants, bindings: { sink }, params, workgroups })
    await backend.sync()
    return (performance.now() - start) / 1000
  }
  await seconds(4) // compiles
  let rounds = 64
  for (let time = await seconds(rounds); time < SECONDS_A_RUN && rounds < MOST_ROUNDS; time = await seconds(rounds)) {
    rounds = Math.min(MOST_ROUNDS, 4 * Math.ceil((rounds / 4) * Math.min(10, Math.max(1.5, (1.1 * SECONDS_A_RUN) / time))))
  }
  let best = Number.POSITIVE_INFINITY
  for (let run = 0; run < RUNS; run++) best = Math.min(best, await seconds(rounds))
  return (FLOPS_A_ROUND * INVOCATIONS * rounds) / best
}
