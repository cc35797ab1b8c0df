import { availableParallelism } from 'node:os'
import { createCpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { describeMachine, formatMachine } from './machine'
import { formatHeader, formatRow, gigaflops, judge, type Layout, type Measurement, type Row, writeReport } from './results'

/** Flags that all benchmarks share. */
export interface CommonOptions {
  readonly runtime: 'auto' | 'native' | 'wasm'
  /** Thread counts, each measured by itself. */
  readonly threads: readonly number[]
  readonly samples: number
  readonly json: string
}

/**
 * Says what the machine is, makes `measurements` on a backend per thread count, prints them as they come and writes the JSON.
 * The peak is measured again beside every row, and the best so far counts: other programs may have slowed a single measurement.
 */
export async function session(
  benchmark: string,
  options: CommonOptions,
  layout: Layout,
  measurements: (backend: Backend) => AsyncIterable<Measurement>,
): Promise<Row[]> {
  const machine = describeMachine()
  console.log(`${formatMachine(machine)}${machine.commit === null ? '' : `, commit ${machine.commit.replace(/^(.{12})[0-9a-f]*/, '$1')}`}`)
  const rows: Row[] = []
  for (const threads of options.threads) {
    const backend = await createCpuBackend({ runtime: options.runtime, threads })
    try {
      let peak = (await measurePeak(backend)).flopsPerSecond
      console.log(`\n${backend.info.name}: ${backend.info.driver}; multiply-adds at best ${gigaflops(peak)} GFLOP/s`)
      console.log(formatHeader(layout))
      for await (const measurement of measurements(backend)) {
        peak = Math.max(peak, (await measurePeak(backend)).flopsPerSecond)
        const row = judge(measurement, { backend: backend.info, threads, peakFlopsPerSecond: peak })
        console.log(formatRow(row, layout))
        rows.push(row)
      }
    } finally {
      await backend.dispose()
    }
  }
  writeReport(options.json, { benchmark, date: new Date().toISOString(), machine, options: { ...options }, rows })
  console.log(
    `\nMedians of ${options.samples} samples after warm-up; results checked against float64 in this run. Written to ${options.json}`,
  )
  if (rows.some(({ rejected }) => rejected !== null)) process.exitCode = 1
  return rows
}

export const allThreads = availableParallelism()
