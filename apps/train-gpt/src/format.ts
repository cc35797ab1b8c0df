/** `12.3K`, `4.56M`: three digits and a unit. */
export function formatCount(n: number): string {
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['K', 1e3],
  ] as const) {
    if (Math.abs(n) >= size * 0.9995) return `${(n / size).toPrecision(3)}${unit}`
  }
  return n >= 100 ? n.toFixed(0) : String(Number(n.toPrecision(3)))
}

/** `1.25 GiB`, `310 MiB`. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes >= size) return `${Number((bytes / size).toPrecision(3))} ${unit}`
  }
  return `${bytes} B`
}

/** `1:02:03` or `4:05`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-:--'
  const whole = Math.round(seconds)
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (n: number) => String(n).padStart(2, '0')
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
}

/** `31 %`. */
export function formatShare(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** Text without what a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[^\P{C}\n\t]/gu, '·')
}
