import { INTERRUPTED } from './errors'

/**
 * The first SIGINT or SIGTERM aborts the signal, for the run to finish its step and save; the second quits at once.
 * `release()` gives the signals back.
 */
export function stopOnSignals(onFirst: () => void): { signal: AbortSignal; release: () => void } {
  const controller = new AbortController()
  const handle = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED)
    controller.abort()
    onFirst()
  }
  process.on('SIGINT', handle).on('SIGTERM', handle)
  return { signal: controller.signal, release: () => void process.off('SIGINT', handle).off('SIGTERM', handle) }
}
