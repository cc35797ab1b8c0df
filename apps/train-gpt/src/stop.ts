import { INTERRUPTED } from './errors'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * The first SIGINT, SIGTERM or SIGHUP (a closed terminal) aborts the signal, for the run to finish its step and save; the second quits at once.
 * `release()` gives the signals back.
 */
export function stopOnSignals(onFirst: () => void): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController()
  const handle = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED)
    controller.abort()
    onFirst()
  }
  for (const name of SIGNALS) process.on(name, handle)
  const release = () => {
    for (const name of SIGNALS) process.off(name, handle)
  }
  return { signal: controller.signal, release }
}
