import type { CpuBackend, KernelProfile } from '@tilegrad/kernels-cpu'
import type { Peak } from './peaks'

/** Where the time of one training step goes. */
export interface StepProfile {
  readonly kernels: readonly KernelProfile[]
  /** Wall time of the step, kernels and what lies between them. */
  readonly milliseconds: number
}

const profiledSteps = 3

/** The mean of a few steps, each kernel timed by the engine. */
export async function profileSteps(backend: CpuBackend, step: () => Promise<void>): Promise<StepProfile> {
  await backend.startProfile()
  const start = performance.now()
  for (let i = 0; i < profiledSteps; i++) await step()
  await backend.sync()
  const milliseconds = (performance.now() - start) / profiledSteps
  const kernels = [...(await backend.stopProfile()).values()].map((kernel) => ({
    ...kernel,
    calls: kernel.calls / profiledSteps,
    milliseconds: kernel.milliseconds / profiledSteps,
    flops: kernel.flops / profiledSteps,
    bytes: kernel.bytes / profiledSteps,
  }))
  return { kernels, milliseconds }
}

/** Kernels and shapes below this share of the step are one line. */
const smallest = 0.003

/** A line per kernel and shape, the longest first, then what is left; rates are shares of the measured peaks. */
export function profileLines({ kernels, milliseconds }: StepProfile, peak: Peak): string[][] {
  const line = (name: string, calls: number, ms: number, flops: number, bytes: number) => [
    name,
    calls === 0 ? '' : calls.toFixed(0),
    ms.toFixed(2),
    share(ms / milliseconds),
    flops === 0 ? '' : (flops / ms / 1e6).toFixed(0),
    flops === 0 ? '' : share(((flops / ms) * 1e3) / peak.flopsPerSecond),
    bytes === 0 ? '' : (bytes / ms / 1e6).toFixed(1),
    bytes === 0 ? '' : share(((bytes / ms) * 1e3) / peak.bytesPerSecond),
  ]
  const large = kernels.filter((kernel) => kernel.milliseconds >= smallest * milliseconds)
  const small = kernels.filter((kernel) => kernel.milliseconds < smallest * milliseconds)
  const total = (of: readonly KernelProfile[], what: 'calls' | 'milliseconds' | 'flops' | 'bytes') =>
    of.reduce((sum, kernel) => sum + kernel[what], 0)
  const summed = (name: string, of: readonly KernelProfile[]) =>
    line(name, total(of, 'calls'), total(of, 'milliseconds'), total(of, 'flops'), total(of, 'bytes'))
  return [
    ...large.map(({ kernel, shape, calls, milliseconds: ms, flops, bytes }) => line(`${kernel} ${shape}`.trim(), calls, ms, flops, bytes)),
    ...(small.length === 0 ? [] : [summed(`${small.length} others`, small)]),
    line('between kernels', 0, milliseconds - total(kernels, 'milliseconds'), 0, 0),
    [...summed('the step', kernels).slice(0, 2), ...line('', 0, milliseconds, total(kernels, 'flops'), 0).slice(2)],
  ]
}

export const profileHeader = ['kernel', 'calls', 'ms', 'of step', 'GFLOP/s', 'of peak', 'GB/s', 'of peak']

export function formatProfile(profile: StepProfile, peak: Peak): string {
  const lines = [profileHeader, ...profileLines(profile, peak)]
  const width = Math.max(...lines.map(([name = '']) => name.length))
  return lines.map(([name = '', ...cells]) => `  ${name.padEnd(width)}${cells.map((cell) => cell.padStart(10)).join('')}`).join('\n')
}

function share(x: number): string {
  return `${(x * 100).toFixed(1)} %`
}
