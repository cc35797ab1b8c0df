import { createReferenceBackend } from '@tilegrad/core-math'
import { ArgumentError, type Backend, numel, type Tensor } from '@tilegrad/tensor'
import { type GradcheckElement, GradcheckError } from './errors/gradcheck-error'
import { Tape } from './tape'
import type { Variable } from './variable'

/** An input whose gradient is checked, row-major. */
export interface GradcheckInput {
  readonly shape: readonly number[]
  readonly data: ArrayLike<number>
}

/** Options of gradcheck. */
export interface GradcheckOptions {
  /** First step of the differences, times max(1, |x|). Default 2⁻⁷, where truncation and rounding are about equal in float64. */
  readonly eps?: number
}

/** A passed check. */
export interface GradcheckResult {
  /** How many gradients were compared. */
  readonly elements: number
  /** The element with the largest error ÷ tolerance. */
  readonly worst: GradcheckElement
  /** The largest tolerance of any element: how sharp the check was. */
  readonly maxTolerance: number
}

/** Half a unit in the last place of 1 in float64. */
const unitRoundoff = 2 ** -53

/**
 * Compares the gradients that backward gives with finite differences, both in float64 on the reference backend. `fn` is called often
 * and must be a deterministic function of its inputs; an output of several elements is weighted by fixed numbers and summed.
 *
 * The differences are central, at steps h, h/2 and h/4, extrapolated twice (Richardson): S = (64·D(h/4) − 20·D(h/2) + D(h))/45 errs by
 * O(h⁶). The tolerance adds up what that can err:
 * - truncation: at most the last correction |S − R|, which is the O(h⁴) error of R, the value extrapolated once;
 * - rounding: an evaluation errs by at most η = n·2⁻⁵³·(Σ|weight·output| + Σ|gradient·input|), n terms being the most that any sum in it
 *   can have, so D(h) by η/h and S by (64·4 + 20·2 + 1)/45·η/h.
 * h is halved until truncation is below rounding.
 *
 * @throws GradcheckError with the worst element if one is off by more than its tolerance or is not finite.
 */
export async function gradcheck(
  fn: (tape: Tape, ...inputs: Variable[]) => Variable,
  inputs: readonly GradcheckInput[],
  options: GradcheckOptions = {},
): Promise<GradcheckResult> {
  const { eps = 2 ** -7 } = options
  if (!(eps > 0 && Number.isFinite(eps))) throw new ArgumentError('gradcheck', 'eps must be a finite number > 0', String(eps))
  const backend = createReferenceBackend()
  try {
    return await compare(backend, fn, inputs, eps)
  } finally {
    await backend.dispose()
  }
}

async function compare(
  backend: Backend,
  fn: (tape: Tape, ...inputs: Variable[]) => Variable,
  inputs: readonly GradcheckInput[],
  eps: number,
): Promise<GradcheckResult> {
  const tape = new Tape(backend)
  const points = inputs.map(({ data }) => Float64Array.from(data))
  const variables = inputs.map(({ shape }, i) => tape.parameter(backend.tensor(points[i] as Float64Array, shape)))

  const output = tape.scope(() => fn(tape, ...variables))
  const weights = outputWeights(numel(output.shape))
  const value = weighted(await output.value.read(), weights)
  tape.backward(output, { seed: backend.tensor(weights, output.shape, output.dtype) })
  const gradients = await Promise.all(variables.map(readGradient))

  const step = (x: number) => eps * Math.max(1, Math.abs(x))
  let magnitude = value.magnitude
  let terms = weights.length
  gradients.forEach((gradient, i) => {
    const point = points[i] as Float64Array
    terms += point.length
    point.forEach((x, e) => {
      magnitude += Math.abs(gradient[e] as number) * Math.max(Math.abs(x), step(x))
    })
  })
  const evaluationError = terms * unitRoundoff * magnitude

  /** The weighted output with element `e` of input `i` set to `x`. */
  const evaluate = async (i: number, e: number, x: number) => {
    const point = (points[i] as Float64Array).slice()
    point[e] = x
    const result = tape.scope(() =>
      tape.noGrad(() => fn(tape, ...variables.map((v, j) => (j === i ? tape.constant(backend.tensor(point, v.shape)) : v)))),
    )
    const { sum } = weighted(await result.value.read(), weights)
    result.dispose()
    return sum
  }

  const elements: GradcheckElement[] = []
  for (const [i, { shape }] of inputs.entries()) {
    for (const [e, x] of (points[i] as Float64Array).entries()) {
      const { derivative, tolerance } = await differentiate((at) => evaluate(i, e, at), x, step(x), evaluationError)
      const analytic = gradients[i]?.[e] as number
      const error = Math.abs(analytic - derivative)
      elements.push({ input: i, index: unravel(e, shape), analytic, numeric: derivative, error, tolerance })
    }
  }
  return verdict(elements)
}

/** The derivative of `f` at `x` by extrapolated central differences, and what it can err. */
async function differentiate(
  f: (x: number) => Promise<number>,
  x: number,
  firstStep: number,
  evaluationError: number,
): Promise<{ derivative: number; tolerance: number }> {
  const central = async (h: number) => ((await f(x + h)) - (await f(x - h))) / (x + h - (x - h))
  let h = firstStep
  let [d1, d2, d3] = [await central(h), await central(h / 2), await central(h / 4)]
  for (;;) {
    const once = (4 * d3 - d2) / 3
    const derivative = (64 * d3 - 20 * d2 + d1) / 45
    const truncation = Math.abs(derivative - once)
    const rounding = ((64 * 4 + 20 * 2 + 1) / 45) * (evaluationError / h)
    if (!(truncation > rounding)) return { derivative, tolerance: truncation + rounding }
    h /= 2
    // A step below half the digits of x leaves no difference: f is not smooth here, and no gradient would be right.
    if (h < Math.sqrt(unitRoundoff) * firstStep) return { derivative: Number.NaN, tolerance: 0 }
    ;[d1, d2, d3] = [d2, d3, await central(h / 4)]
  }
}

function verdict(elements: readonly GradcheckElement[]): GradcheckResult {
  const excess = ({ error, tolerance }: GradcheckElement) => (Number.isFinite(error) ? (error === 0 ? 0 : error / tolerance) : Infinity)
  const [first] = elements
  if (!first) throw new ArgumentError('gradcheck', 'expected at least one input element', 'none')
  const worst = elements.reduce((a, b) => (excess(b) > excess(a) ? b : a), first)
  if (excess(worst) > 1) throw new GradcheckError(worst)
  return { elements: elements.length, worst, maxTolerance: Math.max(...elements.map(({ tolerance }) => tolerance)) }
}

/** 1 for a scalar; else fixed numbers of either sign, 0.5 to 1.5 in size, so that no combination of errors cancels by symmetry. */
function outputWeights(length: number): Float64Array {
  const goldenRatio = (Math.sqrt(5) - 1) / 2
  return Float64Array.from({ length }, (_, i) =>
    length === 1 ? 1 : (0.5 + ((i * goldenRatio) % 1)) * ((i * i * goldenRatio) % 1 < 0.5 ? 1 : -1),
  )
}

function weighted(output: ArrayLike<number>, weights: Float64Array): { sum: number; magnitude: number } {
  let [sum, magnitude] = [0, 0]
  weights.forEach((weight, i) => {
    sum += weight * (output[i] as number)
    magnitude += Math.abs(weight * (output[i] as number))
  })
  return { sum, magnitude }
}

async function readGradient(variable: Variable): Promise<ArrayLike<number>> {
  const grad: Tensor | undefined = variable.grad
  return grad ? grad.read() : new Float64Array(numel(variable.shape))
}

function unravel(element: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length)
  let rest = element
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] as number
    index[axis] = rest % size
    rest = Math.floor(rest / size)
  }
  return index
}
