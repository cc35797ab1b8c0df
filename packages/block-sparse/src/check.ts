import { ArgumentError } from '@tilegrad/tensor'

/** @throws ArgumentError unless `value` is an integer ≥ `least`. */
export function checkInteger(fn: string, name: string, value: number, least = Number.MIN_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least) return
  const what = least === Number.MIN_SAFE_INTEGER ? 'an integer' : `an integer ≥ ${least}`
  throw new ArgumentError(fn, `${name} must be ${what}`, String(value))
}

/** @throws ArgumentError unless `value` is a positive multiple of `factor`. */
export function checkMultiple(fn: string, name: string, value: number, factor: number): void {
  if (Number.isSafeInteger(value) && value > 0 && value % factor === 0) return
  throw new ArgumentError(fn, `${name} must be a positive multiple of ${factor}`, String(value))
}
