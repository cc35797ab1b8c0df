import { readFileSync, writeFileSync } from 'node:fs'

/** Bytes of memory that a process has now, and the most since `resetPeakMemory`. */
export function processMemory(pid: number = process.pid): { bytes: number; peakBytes: number } {
  try {
    // Not getrusage: its peak survives exec, so that a child starts with its parent's.
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
    return { bytes: field('VmRSS'), peakBytes: field('VmHWM') }
  } catch {
    return { bytes: process.memoryUsage.rss(), peakBytes: process.resourceUsage().maxRSS * 1024 }
  }
}

/** Makes the memory of now the peak, on Linux; elsewhere the peak stays that of the whole process. */
export function resetPeakMemory(pid: number = process.pid): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5')
  } catch {
    // Not Linux, or not allowed: peaks include start-up then.
  }
}
