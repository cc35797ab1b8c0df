import { bf16BitsToF32, f16BitsToF32, f32ToBF16Bits, f32ToF16Bits } from '@tilegrad/core-math'
import type { Backend } from '@tilegrad/tensor'
import type { ConformanceCase } from './conformance-case'

const FORMATS = {
  f16: { decode: f16BitsToF32, encode: f32ToF16Bits },
  bf16: { decode: bf16BitsToF32, encode: f32ToBF16Bits },
} as const

type Half = keyof typeof FORMATS

/** cast, for every one of the 65,536 values of each 16-bit format and the float32 numbers between them. */
export function castCases(): ConformanceCase[] {
  return (['f16', 'bf16'] as const).flatMap((half) => [
    { group: 'cast', name: `${half} → f32, every value`, run: (backend) => widen(backend, half) },
    { group: 'cast', name: `f32 → ${half}, every value, tie and neighbour of a tie`, run: (backend) => narrow(backend, half) },
    { group: 'cast', name: `strided f32 → ${half} → f32`, run: (backend) => strided(backend, half) },
  ])
}

async function widen(backend: Backend, half: Half): Promise<void> {
  const bits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i)
  const got = await castAll(backend, bits, [2 ** 16], half, 'f32')
  bits.forEach((b, i) => {
    expectSame(half, `bits 0x${b.toString(16)}`, got[i] as number, FORMATS[half].decode(b))
  })
}

async function narrow(backend: Backend, half: Half): Promise<void> {
  const values = betweenValues(half)
  const got = await castAll(backend, values, [values.length], 'f32', half)
  values.forEach((x, i) => {
    const bits = got[i] as number
    const expected = FORMATS[half].encode(x)
    if (Number.isNaN(x) ? !Number.isNaN(FORMATS[half].decode(bits)) : bits !== expected) {
      throw new Error(`cast of ${x} to ${half}: bits 0x${bits.toString(16)} instead of 0x${expected.toString(16)}`)
    }
  })
}

/** The values of a format, the midpoints between them, and the float32 numbers next to the midpoints. */
function betweenValues(half: Half): Float32Array {
  const { decode } = FORMATS[half]
  const values: number[] = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4028234663852886e38, 1e-45]
  const word = new Int32Array(1)
  const single = new Float32Array(word.buffer)
  for (let bits = 0; bits < 0x8000; bits++) {
    const low = decode(bits)
    const high = decode(bits + 1)
    if (!Number.isFinite(low)) continue
    // Beyond the largest finite value lies the midpoint to what would come next, from where on it rounds to infinity.
    const next = Number.isFinite(high) ? high : 2 * low - decode(bits - 1)
    single[0] = (low + next) / 2
    const middle = word[0] as number
    const middles = [-1, 0, 1].map((step) => {
      word[0] = middle + step
      return single[0] as number
    })
    for (const x of [low, ...middles]) if (!Number.isNaN(x)) values.push(x, -x)
  }
  return Float32Array.from(values)
}

async function strided(backend: Backend, half: Half): Promise<void> {
  const storage = backend.tensor(
    Float32Array.from({ length: 7 * 40 }, (_, i) => Math.fround(Math.sin(i) * 100)),
    [7, 40],
  )
  const view = storage.slice([1, 3], [6, 36])
  const narrowed = backend.kernels.cast(view, half)
  const widened = backend.kernels.cast(narrowed, 'f32')
  const [from, to] = await Promise.all([view.read(), widened.read()])
  for (const tensor of [storage, view, narrowed, widened]) tensor.dispose()
  from.forEach((x, i) => {
    expectSame(half, `${x}`, to[i] as number, FORMATS[half].decode(FORMATS[half].encode(x)))
  })
}

async function castAll(backend: Backend, data: Uint16Array | Float32Array, shape: readonly number[], from: Half | 'f32', to: Half | 'f32') {
  const x = backend.tensor(data, shape, from)
  const result = backend.kernels.cast(x, to)
  x.dispose()
  const values = await result.read()
  result.dispose()
  return values
}

function expectSame(half: Half, what: string, got: number, expected: number): void {
  if (!Object.is(got, expected)) throw new Error(`cast between f32 and ${half} of ${what}: ${got} instead of ${expected}`)
}
