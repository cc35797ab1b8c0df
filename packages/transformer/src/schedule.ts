import { ArgumentError } from '@tilegrad/tensor'

export interface WarmupCosineOptions {
  /** Highest learning rate. */
  readonly lr: number
  /** Learning rate at and after totalSteps. Default 0. */
  readonly minLr?: number
  /** Steps of linear warmup. Default 0. */
  readonly warmupSteps?: number
  readonly totalSteps: number
}

/**
 * Learning rate of step 0, 1, …: linear up to `lr` over `warmupSteps`, then half a cosine down to `minLr` at `totalSteps`
 * (arXiv 1608.03983, eq. 5, one cycle).
 */
export function warmupCosine(options: WarmupCosineOptions): (step: number) => number {
  const { lr, minLr = 0, warmupSteps = 0, totalSteps } = options
  const check = (ok: boolean, expected: string, got: number) => {
    if (!ok) throw new ArgumentError('warmupCosine', expected, String(got))
  }
  check(Number.isFinite(lr) && lr >= 0, 'lr must be a finite number ≥ 0', lr)
  check(Number.isFinite(minLr) && minLr >= 0 && minLr <= lr, `minLr must be in 0..lr (${lr})`, minLr)
  check(Number.isInteger(totalSteps) && totalSteps > 0, 'totalSteps must be a positive integer', totalSteps)
  check(
    Number.isInteger(warmupSteps) && warmupSteps >= 0 && warmupSteps <= totalSteps,
    `warmupSteps must be in 0..${totalSteps}`,
    warmupSteps,
  )
  return (step) => {
    if (step < warmupSteps) return (lr * (step + 1)) / warmupSteps
    if (step >= totalSteps) return minLr
    const progress = (step - warmupSteps) / (totalSteps - warmupSteps)
    return minLr + 0.5 * (lr - minLr) * (1 + Math.cos(Math.PI * progress))
  }
}
