import { availableParallelism } from 'node:os'
import { createCpuBackend, measurePeak } from '@tilegrad/kernels-cpu'
import type { Backend } from '@tilegrad/tensor'
import { describeMachine, formatMachine } from './machine'
import { formatHeader, formatRow, gigaflops, type Row, writeReport } from './results'

/** Flags that all benchmarks share. */
export interface CommonOptions {
  readonly runtime: 'auto' | 'native' | 'wasm'
  /** Thread counts, each measured by itself. */
  readonly threads: readonly number[]
  readonly samples: number
  readonly json: string
}

/** Where rows are measured: a backend with one thread count and its peak. */
export interface Bench {
  readonly backend: Backend
  readonly threads: number
  readonly peakFlopsPerSecond: number
}

/** Says what the machine is, measures `rows` on a backend per thread count, prints them as they come and writes the JSON. */
export async function session(
  benchmark: string,
  options: CommonOptions,
  nameWidth: number,
  rows: (bench: Bench) => AsyncIterable<Row>,
): Promise<Row[]> {
  const machine = describeMachine()
  console.log(`${formatMachine(machine)}${machine.commit === null ? '' : `, commit ${machine.commit.replace(/^(.{12})[0-9a-f]*/, '$1')}`}`)
  const all: Row[] = []
  for (const threads of options.threads) {
    const backend = await createCpuBackend({ runtime: options.runtime, threads })
    try {
      const { flopsPerSecond: peakFlopsPerSecond } = await measurePeak(backend)
      console.log(
        `\n${backend.info.name}: ${backend.info.driver}, peak of multiply-adds measured now: ${gigaflops(peakFlopsPerSecond)} GFLOP/s`,
      )
      console.log(formatHeader(nameWidth))
      for await (const row of rows({ backend, threads, peakFlopsPerSecond })) {
        console.log(formatRow(row, nameWidth))
        all.push(row)
      }
    } finally {
      await backend.dispose()
    }
  }
  writeReport(options.json, benchmark, { ...options }, all)
  console.log(
    `\nMedians of ${options.samples} samples after warm-up; results checked against float64 in this run. Written to ${options.json}`,
  )
  if (all.some(({ rejected }) => rejected !== null)) process.exitCode = 1
  return all
}

export const allThreads = availableParallelism()
