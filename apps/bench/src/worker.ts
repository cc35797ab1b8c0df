import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { measureKeyformer } from './approximations/measure-keyformer'
import { measureLinformer } from './approximations/measure-linformer'
import { measureAttention } from './attention/measure'
import { measureGemm } from './gemm'
import { type BackendName, backendOptions, type Job, type PeakJob } from './job'
import { measurePeaks, measureWebGPUPeaks, type Peak } from './peaks'
import type { Measurement } from './results'
import { measureSparse } from './sparsity/measure'
import { measureTraining } from './training'
import { type Adapter, describeAdapter } from './webgpu/adapter'
import { openWebGPU } from './webgpu/backend'

/** What a child process answers. */
export type Answer = { readonly result: Measurement | Peak | Adapter } | { readonly error: string }

/** Runs the one job that the parent sends, answers and ends. */
export function serveOneJob(): void {
  process.once('message', (job: Job) => {
    perform(job)
      .then((result): Answer => ({ result }))
      .catch((error: unknown): Answer => ({ error: error instanceof Error ? error.message : String(error) }))
      // Peers leave threads behind that would keep the process alive.
      .then((answer) => process.send?.(answer, () => process.exit()))
  })
  // Nobody waits for the answer any more.
  process.once('disconnect', () => process.exit())
}

export async function perform(job: Job): Promise<Measurement | Peak | Adapter> {
  if (job.kind === 'adapter') return describeAdapter()
  if (job.kind === 'peak') return peaksOf(job)
  if (job.kind === 'attention') return measureAttention(job)
  if (job.kind === 'gemm') return measureGemm(job)
  if (job.kind === 'sparse') return measureSparse(job)
  if (job.kind === 'linformer') return measureLinformer(job)
  if (job.kind === 'keyformer') return measureKeyformer(job)
  const backend = await createCpuBackend(backendOptions(job.contender, job.threads))
  try {
    return await measureTraining(backend, job)
  } finally {
    await backend.dispose()
  }
}

async function peaksOf({ contender, threads }: PeakJob): Promise<Peak> {
  if (contender === 'webgpu') return measureWebGPUPeaks(await openWebGPU('webgpu'))
  const backend = await createCpuBackend(backendOptions(contender as BackendName, threads))
  try {
    return await measurePeaks(backend, threads)
  } finally {
    await backend.dispose()
  }
}
