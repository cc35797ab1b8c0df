import type { Schedule } from './schedule'

/**
 * Hides what query i may not see: `row` holds its scores for keys [keyBegin, keyEnd), and those outside the band, past
 * seqlenK or hidden by the block mask become `hidden` (−∞ before softmax, 0 for probabilities and their gradients).
 */
export function maskRow(schedule: Schedule, i: number, keyBegin: number, keyEnd: number, row: Float64Array, hidden: number): void {
  const keys = schedule.visibleKeys(i)
  // Where the row sees nothing, before and after meet and hide all.
  const before = Math.min(keyEnd, keys.begin) - keyBegin
  const after = Math.max(keyBegin, keys.end) - keyBegin
  for (let j = 0; j < before; j++) row[j] = hidden
  for (let j = after; j < keyEnd - keyBegin; j++) row[j] = hidden
  const { mask } = schedule
  if (!mask) return
  for (let j = Math.max(0, before); j < Math.min(after, keyEnd - keyBegin); j++) {
    if (!mask.visible(i, keyBegin + j)) row[j] = hidden
  }
}
