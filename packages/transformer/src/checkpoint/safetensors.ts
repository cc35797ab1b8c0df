import { bf16BitsToF32Array, f16BitsToF32Array, f32ArrayToBF16Bits, f32ArrayToF16Bits } from '@tilegrad/core-math'
import { bytesPerElement, type DType, type Tensor, type TypedArray } from '@tilegrad/tensor'
import { CheckpointError } from '../errors/checkpoint-error'
import { type ByteSource, fileSource } from './byte-source'
import { encodeHeader, parseHeader, prefixBytes, readHeaderLength, type SafetensorsEntry } from './safetensors-header'
import { writeFileAtomic } from './write-file-atomic'

/** Tensors by name that can be read one at a time: a file, or a set of them. */
export interface TensorSource {
  readonly metadata: Readonly<Record<string, string>>
  readonly shapes: ReadonlyMap<string, readonly number[]>
  /** Elements of an F32, F16 or BF16 tensor, row-major, as float32. */
  readF32(name: string): Promise<Float32Array>
  close(): Promise<void>
}

/** An open safetensors file, checked: `close` it. Its tensors are read when asked for. */
export class SafetensorsFile implements TensorSource {
  private constructor(
    private readonly source: ByteSource,
    readonly metadata: Readonly<Record<string, string>>,
    readonly entries: ReadonlyMap<string, SafetensorsEntry>,
    private readonly dataStart: number,
  ) {}

  /** @throws CheckpointError for a corrupt or truncated file. */
  static async open(source: ByteSource): Promise<SafetensorsFile> {
    const prefix = await source.read(0, Math.min(prefixBytes, source.bytes))
    const length = readHeaderLength(source.name, prefix, source.bytes)
    const header = parseHeader(source.name, await source.read(prefixBytes, length), source.bytes)
    return new SafetensorsFile(source, header.metadata, header.entries, header.dataStart)
  }

  get shapes(): ReadonlyMap<string, readonly number[]> {
    return new Map(Array.from(this.entries, ([name, { shape }]) => [name, shape]))
  }

  /** The stored bytes of a tensor, row-major, little-endian. */
  async readBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const { begin, end } = this.entry(name)
    return this.source.read(this.dataStart + begin, end - begin)
  }

  async readF32(name: string): Promise<Float32Array> {
    const { dtype } = this.entry(name)
    if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
      throw new CheckpointError(this.source.name, `tensor '${name}' must be F32, F16 or BF16, got ${dtype}`)
    }
    const { buffer } = await this.readBytes(name)
    if (dtype === 'F32') return new Float32Array(buffer)
    return dtype === 'F16' ? f16BitsToF32Array(new Uint16Array(buffer)) : bf16BitsToF32Array(new Uint16Array(buffer))
  }

  /** Elements of an I32 tensor. */
  async readI32(name: string): Promise<Int32Array> {
    const { dtype } = this.entry(name)
    if (dtype !== 'I32') throw new CheckpointError(this.source.name, `tensor '${name}' must be I32, got ${dtype}`)
    return new Int32Array((await this.readBytes(name)).buffer)
  }

  async close(): Promise<void> {
    await this.source.close()
  }

  private entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name)
    if (!entry) throw new CheckpointError(this.source.name, `tensor '${name}' is missing`)
    return entry
  }
}

/**
 * Opens a safetensors file and checks its header; `close` it afterwards.
 * @throws CheckpointError if it is missing, corrupt or truncated.
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const source = await fileSource(path)
  try {
    return await SafetensorsFile.open(source)
  } catch (error) {
    await source.close()
    throw error
  }
}

export interface WriteSafetensorsOptions {
  /** Convert floating tensors to this type. Default: each keeps its own. */
  readonly dtype?: 'f32' | 'f16' | 'bf16'
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * Writes tensors to a safetensors file, replacing it atomically; one tensor at a time is held on the host.
 * @throws CheckpointError if a finite number overflows `dtype`.
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [name: string, tensor: Tensor]>,
  options?: WriteSafetensorsOptions,
): Promise<void> {
  await writeFileAtomic(path, safetensorsChunks(tensors, options))
}

const storedAs = { f32: 'F32', f16: 'F16', bf16: 'BF16', i32: 'I32' } as const
/** Elements that are converted and written at a time. */
const chunkElements = 2 ** 20

/** The bytes of a safetensors file, in pieces. */
export async function* safetensorsChunks(
  tensors: Iterable<readonly [name: string, tensor: Tensor]>,
  { dtype, metadata = {} }: WriteSafetensorsOptions = {},
): AsyncGenerator<Uint8Array> {
  const typeOf = (tensor: Tensor): DType => (tensor.dtype === 'i32' ? 'i32' : (dtype ?? tensor.dtype))
  // The widest types first keep every tensor aligned to its elements.
  const list = Array.from(tensors).sort(([, a], [, b]) => bytesPerElement[typeOf(b)] - bytesPerElement[typeOf(a)])
  yield encodeHeader(
    list.map(([name, tensor]) => [name, storedAs[typeOf(tensor)], tensor.shape]),
    metadata,
  )
  for (const [name, tensor] of list) {
    const data = await tensor.read()
    for (let at = 0; at < data.length; at += chunkElements) {
      const stored = convert(name, data.subarray(at, at + chunkElements), tensor.dtype, typeOf(tensor))
      yield new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
    }
  }
}

/** `data` as `read` returns it for dtype `from`, to the bits of dtype `to`. */
function convert(name: string, data: TypedArray, from: DType, to: DType): Float32Array | Int32Array | Uint16Array {
  if (from === to && !(data instanceof Float64Array)) return data
  const values = from === 'f16' ? f16BitsToF32Array(data) : from === 'bf16' ? bf16BitsToF32Array(data) : data
  if (to === 'f32') return values instanceof Float32Array ? values : Float32Array.from(values)
  const [bits, infinity] = to === 'f16' ? [f32ArrayToF16Bits(values), 0x7c00] : [f32ArrayToBF16Bits(values), 0x7f80]
  const overflow = bits.findIndex((b, i) => (b & 0x7fff) === infinity && Number.isFinite(values[i]))
  if (overflow >= 0) throw new CheckpointError('writeSafetensors', `tensor '${name}' has ${values[overflow]}, too large for ${to}: use f32`)
  return bits
}
