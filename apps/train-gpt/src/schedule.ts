import { warmupCosine } from '@tilegrad/transformer'
import type { TrainOptions } from './options'

/** Steps of warmup where none are asked for, if the run has at least ten times as many. */
const DEFAULT_WARMUP = 20
const DEFAULT_MINUTES = 5
/** A plan leaves this share of the time for a machine that gets slower. */
const SLACK = 0.05

/** Seconds of a step, and of what happens beside steps, as measured. */
export interface Costs {
  readonly step: number
  readonly validation: number
  readonly sample: number
  readonly save: number
}

/** How long a run may go on, and its learning rate at each step. */
export class Schedule {
  /** Seconds that a session may take. */
  readonly secondsLimit: number
  private readonly warmup: number

  constructor(private readonly options: TrainOptions) {
    const { minutes, steps, warmup } = options
    this.secondsLimit = 60 * (minutes ?? (steps === undefined ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY))
    this.warmup = warmup ?? (steps === undefined ? DEFAULT_WARMUP : Math.min(DEFAULT_WARMUP, Math.floor(steps / 10)))
  }

  /** Of the step after `stepsDone`; `totalSteps` is null before it is planned: then all is warmup, which does not depend on it. */
  learningRate(stepsDone: number, totalSteps: number | null): number {
    const { lr, minLr = lr / 10 } = this.options
    const total = totalSteps ?? Math.max(this.warmup, stepsDone + 1)
    return warmupCosine({ lr, minLr, warmupSteps: Math.min(this.warmup, total), totalSteps: total })(stepsDone)
  }

  /** Whether it is time to plan: steps have been measured, and the learning rate is about to depend on the total. */
  isPlanDue(stepsDone: number, elapsed: number): boolean {
    return stepsDone >= Math.max(1, this.warmup) || elapsed >= this.secondsLimit / 10
  }

  /** Total steps of a run that has done `stepsDone` in `elapsed` seconds: as many as the time allows. */
  plan(stepsDone: number, elapsed: number, cost: Costs): number {
    const { valEvery, sampleEvery, saveEvery } = this.options
    const perStep = cost.step + cost.validation / valEvery + cost.sample / sampleEvery + cost.save / saveEvery
    const left = this.secondsLimit * (1 - SLACK) - elapsed - cost.validation - cost.sample - cost.save
    return stepsDone + Math.max(1, Math.floor(left / perStep))
  }
}
