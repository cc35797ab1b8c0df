import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bf16BitsToF32Array, createReferenceBackend, f16BitsToF32Array, f32ArrayToBF16Bits, f32ArrayToF16Bits } from '@tilegrad/core-math'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { memorySource } from './byte-source'
import { readSafetensors, SafetensorsFile, safetensorsChunks, writeSafetensors } from './safetensors'

const backend = createReferenceBackend({ precision: 'f32' })
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** A file put together here from the format's description, with any header and any number of data bytes. */
function fileOf(header: unknown, dataBytes: number, headerLength?: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = new Uint8Array(8 + json.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength ?? json.length), true)
  bytes.set(json, 8)
  for (let i = 0; i < dataBytes; i++) bytes[8 + json.length + i] = i
  return bytes
}

const open = (bytes: Uint8Array) => SafetensorsFile.open(memorySource('x.safetensors', bytes))
const f32 = (shape: number[], begin: number, end: number) => ({ dtype: 'F32', shape, data_offsets: [begin, end] })

describe('reading', () => {
  test('finds tensors at any alignment, in any order of the header', async () => {
    const bytes = fileOf({ b: f32([2], 6, 14), a: { dtype: 'F16', shape: [3, 1], data_offsets: [0, 6] }, __metadata__: { k: 'v' } }, 14)
    const data = new DataView(bytes.buffer, bytes.length - 14)
    data.setFloat32(6, 1.5, true)
    data.setFloat32(10, -2e30, true)
    data.setUint16(0, 0x3c00, true)
    data.setUint16(2, 0xc000, true)
    data.setUint16(4, 0x0001, true)
    const file = await open(bytes)
    expect(file.metadata).toEqual({ k: 'v' })
    expect(file.shapes).toEqual(new Map([['a', [3, 1]], ['b', [2]]])) // biome-ignore format: short
    expect(await file.readF32('b')).toEqual(Float32Array.from([1.5, -2e30]))
    expect(await file.readF32('a')).toEqual(Float32Array.from([1, -2, 2 ** -24]))
  })

  test('takes scalars, empty tensors and names of any kind', async () => {
    const file = await open(
      fileOf('{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"":{"dtype":"I64","shape":[0,5],"data_offsets":[4,4]}}', 4),
    )
    expect([...file.shapes.keys()]).toEqual(['__proto__', ''])
    expect(await file.readF32('__proto__')).toHaveLength(1)
  })

  test('says what cannot be read as numbers', async () => {
    const file = await open(fileOf({ mask: { dtype: 'BOOL', shape: [3], data_offsets: [0, 3] } }, 3))
    await expect(file.readF32('mask')).rejects.toThrow("x.safetensors: tensor 'mask' must be F32, F16 or BF16, got BOOL")
    await expect(file.readI32('mask')).rejects.toThrow("tensor 'mask' must be I32, got BOOL")
    await expect(file.readF32('other')).rejects.toThrow("tensor 'other' is missing")
    expect(await file.readBytes('mask')).toEqual(Uint8Array.from([0, 1, 2]))
  })

  test.each<[string, Uint8Array, string]>([
    ['an empty file', new Uint8Array(0), 'not a safetensors file: only 0 bytes long'],
    ['a short file', new Uint8Array(7), 'only 7 bytes long'],
    ['a zero header', new Uint8Array(16), 'its header claims 0 bytes'],
    ['a huge header', fileOf('{}', 0, 2 ** 40), 'its header claims 1099511627776 bytes'],
    ['a cut header', fileOf('{}', 0, 90), 'truncated: its header needs 98 bytes, the file has 10'],
    ['no JSON', fileOf('{"a"', 0), 'corrupt header: '],
    ['no UTF-8', fileOf('{}', 1, 3).fill(0xff, 8), 'corrupt header: '],
    ['an array', fileOf([], 0), 'corrupt header: not a JSON object'],
    ['bad metadata', fileOf({ __metadata__: { a: 1 } }, 0), '__metadata__ must map strings to strings'],
    ['no entry', fileOf({ a: null }, 0), "tensor 'a' has unknown dtype undefined"],
    ['an unknown dtype', fileOf({ a: { ...f32([1], 0, 4), dtype: 'toString' } }, 4), `tensor 'a' has unknown dtype "toString"`],
    ['a negative size', fileOf({ a: f32([-1], 0, 4) }, 4), "tensor 'a' has no valid shape: [-1]"],
    ['a shape that is none', fileOf({ a: { ...f32([], 0, 4), shape: 4 } }, 4), "tensor 'a' has no valid shape: 4"],
    ['one offset', fileOf({ a: { ...f32([1], 0, 4), data_offsets: [4] } }, 4), "tensor 'a' has no valid data_offsets: [4]"],
    ['a fraction', fileOf({ a: f32([1], 0.5, 4.5) }, 8), 'no valid data_offsets'],
    ['a wrong span', fileOf({ a: f32([2], 0, 4) }, 4), "tensor 'a' is F32 [2], 8 bytes, but its data_offsets span 4"],
    ['an overflowing shape', fileOf({ a: f32([2 ** 30, 2 ** 30], 0, 0) }, 0), "tensor 'a' is F32"],
    ['an overlap', fileOf({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, 8), "tensor 'b' overlaps the one before it"],
    ['a gap', fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), "4 bytes before tensor 'b' belong to none"],
    ['a cut', fileOf({ a: f32([4], 0, 16) }, 10), "truncated: tensor 'a' ends 6 bytes after the file"],
    ['a rest', fileOf({ a: f32([1], 0, 4) }, 9), '5 bytes after the last tensor belong to none'],
    [
      'a name twice',
      fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', 8),
      "4 bytes before tensor 'a'",
    ],
  ])('refuses %s', async (_, bytes, message) => {
    await expect(open(bytes)).rejects.toThrow(message)
    await expect(open(bytes)).rejects.toMatchObject({ name: 'CheckpointError', message: expect.stringContaining('x.safetensors: ') })
  })

  test('refuses a file that is not there, by name', async () => {
    await expect(readSafetensors(join(folder, 'none'))).rejects.toThrow(`${join(folder, 'none')}: no such file`)
  })
})

const tensorList = fc.uniqueArray(
  fc.record({
    name: fc.string({ maxLength: 8 }).filter((name) => name !== '__metadata__'),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 }),
    dtype: fc.constantFrom('f32', 'f16', 'bf16', 'i32'),
    seed: fc.integer({ min: 0, max: 1000 }),
  }),
  { selector: (t) => t.name, maxLength: 5 },
)

type Sample = { name: string; shape: number[]; dtype: 'f32' | 'f16' | 'bf16' | 'i32'; seed: number }

/** Numbers that all four types hold exactly. */
function sampleTensor({ shape, dtype, seed }: Sample) {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((seed + i * 7) % 101) - 50)
  if (dtype === 'f32') return backend.tensor(values, shape)
  if (dtype === 'i32') return backend.tensor(Int32Array.from(values), shape)
  return backend.tensor(dtype === 'f16' ? f32ArrayToF16Bits(values) : f32ArrayToBF16Bits(values), shape, dtype)
}

async function bytesOf(...args: Parameters<typeof safetensorsChunks>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of safetensorsChunks(...args)) chunks.push(chunk)
  return new Uint8Array(Buffer.concat(chunks))
}

describe('writing', () => {
  test('what was written is read again: any shapes, names and types', async () => {
    await fc.assert(
      fc.asyncProperty(tensorList, fc.dictionary(fc.string({ maxLength: 4 }), fc.string({ maxLength: 4 })), async (list, metadata) => {
        const tensors = list.map((t) => [t.name, sampleTensor(t as Sample)] as const)
        const bytes = await bytesOf(tensors, { metadata })
        const file = await open(bytes)
        expect({ ...file.metadata }).toEqual({ ...metadata })
        expect(file.entries.size).toBe(list.length)
        for (const [name, tensor] of tensors) {
          const entry = file.entries.get(name)
          expect(entry).toMatchObject({ dtype: tensor.dtype.toUpperCase(), shape: tensor.shape })
          // Aligned to its elements, so that other readers can map it into memory.
          expect((bytes.length - [...file.entries.values()].at(-1)!.end + entry!.begin) % (tensor.dtype.endsWith('32') ? 4 : 2)).toBe(0)
          const stored = await file.readBytes(name)
          const data = await tensor.read()
          expect(stored).toEqual(new Uint8Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)))
        }
      }),
      { seed: 3, numRuns: 60 },
    )
  })

  test.each(['f16', 'bf16'] as const)('converts to %s, rounding to nearest', async (dtype) => {
    const values = Float32Array.from([0.1, -3.3, 1e-9, 65000, Infinity, 0])
    const file = await open(await bytesOf([['w', backend.tensor(values, [6])], ['i', backend.tensor(Int32Array.from([5]), [1])]], { dtype })) // biome-ignore format: short
    expect(file.entries.get('w')?.dtype).toBe(dtype.toUpperCase())
    expect(await file.readI32('i')).toEqual(Int32Array.from([5]))
    const expected = dtype === 'f16' ? f16BitsToF32Array(f32ArrayToF16Bits(values)) : bf16BitsToF32Array(f32ArrayToBF16Bits(values))
    expect(await file.readF32('w')).toEqual(expected)
  })

  test('refuses to turn a large number into infinity, and leaves the old file', async () => {
    const path = join(folder, 'kept.safetensors')
    await writeSafetensors(path, [['w', backend.tensor([1], [1])]])
    const before = await readFile(path)
    const tooLarge = [['w', backend.tensor([1e5], [1])]] as const
    await expect(writeSafetensors(path, tooLarge, { dtype: 'f16' })).rejects.toThrow("tensor 'w' has 100000, too large for f16: use f32")
    expect(await readFile(path)).toEqual(before)
  })

  test('holds tensors longer than one piece, and strided ones in row-major order', async () => {
    const long = Float32Array.from({ length: 2 ** 20 + 3 }, (_, i) => i)
    const path = join(folder, 'long.safetensors')
    const square = backend.tensor([1, 2, 3, 4], [2, 2]).permute([1, 0])
    await writeSafetensors(path, [['long', backend.tensor(long, [long.length])], ['square', square]]) // biome-ignore format: short
    const file = await readSafetensors(path)
    expect(await file.readF32('long')).toEqual(long)
    expect(await file.readF32('square')).toEqual(Float32Array.from([1, 3, 2, 4]))
    await file.close()
  })
})

describe('a damaged file', () => {
  const whole = bytesOf(
    [
      ['model.norm.weight', backend.tensor([1, 2, 3, 4], [4])],
      ['wte', backend.tensor([1, 2, 3, 4, 5, 6], [2, 3])],
    ],
    { metadata: { format: 'pt' } },
  )

  test('is refused at any length but its own', async () => {
    const bytes = await whole
    for (let length = 0; length < bytes.length; length++) {
      await expect(open(bytes.subarray(0, length))).rejects.toMatchObject({ name: 'CheckpointError' })
    }
    await expect(open(Uint8Array.from([...bytes, 0]))).rejects.toThrow('1 bytes after the last tensor belong to none')
  })

  test('is refused by a CheckpointError or read within its bounds, whatever bytes changed', async () => {
    const bytes = await whole
    const damage = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 3 })
    let refused = 0
    await fc.assert(
      fc.asyncProperty(damage, async (changes) => {
        const damaged = bytes.slice()
        for (const [at, value] of changes) damaged[at] = value
        let file: SafetensorsFile
        try {
          file = await open(damaged)
        } catch (error) {
          refused++
          expect(error).toMatchObject({ name: 'CheckpointError' })
          return
        }
        let total = 0
        for (const name of file.entries.keys()) total += (await file.readBytes(name)).length
        expect(total).toBe(40)
      }),
      { seed: 5, numRuns: 1500 },
    )
    expect(refused).toBeGreaterThan(500)
  })

  test('that shrinks while it is read is an error and not a row of zeros', async () => {
    const path = join(folder, 'shrinks.safetensors')
    await writeFile(path, await whole)
    const file = await readSafetensors(path)
    await writeFile(path, (await whole).subarray(0, 100))
    await expect(file.readF32('wte')).rejects.toThrow('truncated while it was read')
    await file.close()
  })
})
