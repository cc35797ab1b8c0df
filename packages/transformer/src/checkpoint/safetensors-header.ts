import { formatShape, numel } from '@tilegrad/tensor'
import { CheckpointError } from '../errors/checkpoint-error'

/** Bytes per element of the types that a header may name. */
const bytesOf = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const

export type SafetensorsDType = keyof typeof bytesOf

/** One tensor of a file: bytes `[begin, end)` after the header, row-major, little-endian. */
export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType
  readonly shape: readonly number[]
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>
  /** In the order of their bytes. */
  readonly entries: ReadonlyMap<string, SafetensorsEntry>
  /** Where the bytes of the tensors begin in the file. */
  readonly dataStart: number
}

/** The header's length comes first, as u64. */
export const prefixBytes = 8
/** The limit of the format's reference implementation. */
const maxHeaderBytes = 100_000_000

/** Length of the JSON header, from the first 8 bytes of a file of `fileBytes`. */
export function readHeaderLength(file: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.length < prefixBytes) throw new CheckpointError(file, `not a safetensors file: only ${fileBytes} bytes long`)
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true))
  if (length < 2 || length > maxHeaderBytes) {
    throw new CheckpointError(file, `not a safetensors file: its header claims ${length} bytes (2 to ${maxHeaderBytes} are possible)`)
  }
  if (prefixBytes + length > fileBytes) {
    throw new CheckpointError(file, `truncated: its header needs ${prefixBytes + length} bytes, the file has ${fileBytes}`)
  }
  return length
}

/**
 * Parses the JSON header of a file of `fileBytes` and checks that its tensors lie one after another to the end of the file.
 * Source: the format's description, https://github.com/huggingface/safetensors#format.
 * @throws CheckpointError naming the file and the tensor at fault.
 */
export function parseHeader(file: string, json: Uint8Array, fileBytes: number): SafetensorsHeader {
  const dataStart = prefixBytes + json.length
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json))
  } catch (error) {
    throw new CheckpointError(file, `corrupt header: ${(error as Error).message}`)
  }
  if (!isRecord(parsed)) throw new CheckpointError(file, 'corrupt header: not a JSON object')

  let metadata: Record<string, string> = {}
  const list: [string, SafetensorsEntry][] = []
  for (const [name, value] of Object.entries(parsed)) {
    if (name !== '__metadata__') list.push([name, parseEntry(file, name, value)])
    else if (isRecord(value) && Object.values(value).every((v) => typeof v === 'string')) metadata = value as Record<string, string>
    else throw new CheckpointError(file, 'corrupt header: __metadata__ must map strings to strings')
  }
  list.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  checkLayout(file, list, fileBytes - dataStart)
  return { metadata, entries: new Map(list), dataStart }
}

function parseEntry(file: string, name: string, value: unknown): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (isRecord(value) ? value : {}) as Record<string, unknown>
  const fail = (what: string): never => {
    throw new CheckpointError(file, `corrupt header: tensor '${name}' ${what}`)
  }
  if (typeof dtype !== 'string' || !Object.hasOwn(bytesOf, dtype)) return fail(`has unknown dtype ${JSON.stringify(dtype)}`)
  if (!isSizes(shape)) return fail(`has no valid shape: ${JSON.stringify(shape)}`)
  if (!isSizes(offsets) || offsets.length !== 2) return fail(`has no valid data_offsets: ${JSON.stringify(offsets)}`)
  const [begin, end] = offsets as [number, number]
  const bytes = numel(shape) * bytesOf[dtype as SafetensorsDType]
  if (end - begin !== bytes) fail(`is ${dtype} ${formatShape(shape)}, ${bytes} bytes, but its data_offsets span ${end - begin}`)
  return { dtype: dtype as SafetensorsDType, shape, begin, end }
}

function checkLayout(file: string, list: readonly [string, SafetensorsEntry][], dataBytes: number): void {
  let expected = 0
  for (const [name, { begin, end }] of list) {
    if (begin < expected) throw new CheckpointError(file, `corrupt header: tensor '${name}' overlaps the one before it`)
    if (begin > expected)
      throw new CheckpointError(file, `corrupt header: ${begin - expected} bytes before tensor '${name}' belong to none`)
    if (end > dataBytes) throw new CheckpointError(file, `truncated: tensor '${name}' ends ${end - dataBytes} bytes after the file`)
    expected = end
  }
  if (expected !== dataBytes) throw new CheckpointError(file, `${dataBytes - expected} bytes after the last tensor belong to none`)
}

/** Lays tensors out in the given order and returns the file's beginning: length, JSON, and spaces up to a multiple of 8 bytes. */
export function encodeHeader(
  tensors: readonly (readonly [name: string, dtype: SafetensorsDType, shape: readonly number[]])[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const header = new Map<string, unknown>()
  if (Object.keys(metadata).length > 0) header.set('__metadata__', metadata)
  let begin = 0
  for (const [name, dtype, shape] of tensors) {
    const end = begin + numel(shape) * bytesOf[dtype]
    header.set(name, { dtype, shape, data_offsets: [begin, end] })
    begin = end
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)))
  const bytes = new Uint8Array(prefixBytes + Math.ceil(json.length / 8) * 8).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(bytes.length - prefixBytes), true)
  bytes.set(json, prefixBytes)
  return bytes
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)
}
