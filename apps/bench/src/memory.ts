import { readFileSync, writeFileSync } from 'node:fs'

/** Bytes of memory that this process has now, and the most since `resetPeakMemory`. */
export function processMemory(): { bytes: number; peakBytes: number } {
  try {
    // Not getrusage: its peak survives exec, so that a child starts with its parent's.
    const status = readFileSync('/proc/self/status', 'utf8')
    const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
    return { bytes: field('VmRSS'), peakBytes: field('VmHWM') }
  } catch {
    return { bytes: process.memoryUsage.rss(), peakBytes: process.resourceUsage().maxRSS * 1024 }
  }
}

/** Makes the memory of now the peak, on Linux; elsewhere the peak stays that of the whole process. */
export function resetPeakMemory(): void {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {
    // Not Linux, or not allowed: peaks include start-up then.
  }
}
