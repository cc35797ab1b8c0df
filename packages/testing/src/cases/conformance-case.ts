import type { Backend } from '@tilegrad/tensor'
import type { Oracle } from '../kernel-case'

/** One test of the suite, without a test runner. */
export interface ConformanceCase {
  readonly group: string
  readonly name: string
  /** Rejects with what is wrong, e.g. `dq: error 3.1e-4 at [0, 7, 1, 2] (…) exceeds 1.2e-6 = 3 × … (naive) + …`. */
  run(backend: Backend, oracle: Oracle): Promise<void>
}
