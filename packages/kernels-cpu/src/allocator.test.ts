import { OutOfMemoryError } from '@tilegrad/tensor'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Allocator, type Block, type MemorySource, sizeClass } from './allocator'
import { WasmHeap } from './wasm-heap'

const MiB = 2 ** 20

/** A queue that the test advances. */
class Queue {
  submitted = 0
  completed = 0
}

/** Endless memory that never hands out a range twice, and knows what is reserved. */
class Endless implements MemorySource {
  readonly reserved = new Set<number>()
  bytes = 0
  private next = 64

  reserve(bytes: number): Block {
    const block = { address: this.next, bytes, lastUse: 0 }
    this.next += bytes
    this.bytes += bytes
    this.reserved.add(block.address)
    return block
  }

  release({ address, bytes }: Block): void {
    expect(this.reserved.delete(address)).toBe(true)
    this.bytes -= bytes
  }

  settle(): void {}
}

/** A WebAssembly.Memory that only has a size. */
function fakeMemory(initialPages: number, maximumPages: number) {
  const memory = {
    buffer: { byteLength: initialPages * 65536 } as ArrayBuffer,
    grow(pages: number) {
      const before = memory.buffer.byteLength / 65536
      if (before + pages > maximumPages) throw new RangeError('memory.grow')
      memory.buffer = { byteLength: (before + pages) * 65536 } as ArrayBuffer
      return before
    },
  }
  return memory
}

type Step =
  | { kind: 'alloc'; bytes: number; idle: boolean }
  | { kind: 'free'; which: number }
  | { kind: 'submit' }
  | { kind: 'complete'; part: number }
  | { kind: 'resetPeak' }

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant('alloc' as const), bytes: fc.integer({ min: 0, max: 40 * MiB }), idle: fc.boolean() }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constant('alloc' as const), bytes: fc.integer({ min: 0, max: 5000 }), idle: fc.boolean() }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('free' as const), which: fc.nat() }) },
    { weight: 3, arbitrary: fc.constant({ kind: 'submit' as const }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('complete' as const), part: fc.double({ min: 0, max: 1, noNaN: true }) }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'resetPeak' as const }) },
  ),
  { maxLength: 200, size: 'max' },
)

const OWN = 4 * MiB
const MAX = 400 * MiB

/** Runs the steps and checks after each one what must hold whatever the source. */
function check(
  makeSource: (queue: Queue) => MemorySource,
  sequence: readonly Step[],
  afterEach: (allocator: Allocator, live: Block[]) => void,
) {
  const queue = new Queue()
  const allocator = new Allocator(makeSource(queue), queue, OWN, MAX)
  const live: Block[] = []
  // Who touches which range until which command: what a reused range must wait for if it is to be idle.
  const uses: { from: number; to: number; lastUse: number }[] = []
  let peak = OWN
  const liveBytes = () => live.reduce((sum, { bytes }) => sum + bytes, OWN)
  for (const step of sequence) {
    if (step.kind === 'submit') queue.submitted++
    if (step.kind === 'complete') queue.completed += Math.floor((queue.submitted - queue.completed) * step.part)
    if (step.kind === 'free' && live.length > 0) {
      const [block] = live.splice(step.which % live.length, 1) as [Block]
      uses.push({ from: block.address, to: block.address + block.bytes, lastUse: queue.submitted })
      allocator.free(block)
    }
    if (step.kind === 'resetPeak') {
      allocator.resetPeak()
      peak = liveBytes()
    }
    if (step.kind === 'alloc') {
      try {
        const block = allocator.alloc(step.bytes, step.idle)
        expect(block.bytes).toBeGreaterThanOrEqual(step.bytes)
        expect(block.bytes).toBeLessThanOrEqual(Math.max(64, step.bytes * 1.125 + 64))
        expect(block.address % 64).toBe(0)
        const end = block.address + block.bytes
        for (const other of live) expect(end <= other.address || other.address + other.bytes <= block.address).toBe(true)
        if (step.idle) {
          for (const use of uses) if (use.from < end && block.address < use.to) expect(use.lastUse).toBeLessThanOrEqual(queue.completed)
        }
        live.push(block)
        peak = Math.max(peak, liveBytes())
      } catch (error) {
        expect(error).toBeInstanceOf(OutOfMemoryError)
      }
    }
    expect(allocator.memory()).toEqual({ bytes: liveBytes(), peakBytes: peak })
    expect(liveBytes() + allocator.cacheBytes).toBeLessThanOrEqual(Math.min(MAX, Math.max(liveBytes(), peak * 1.25 + 64 * MiB)))
    afterEach(allocator, live)
  }
}

test('random sequences over system memory', () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      let source!: Endless
      const make = () => {
        source = new Endless()
        return source
      }
      check(make, sequence, (allocator) => {
        expect(source.bytes).toBe(allocator.memory().bytes - OWN + allocator.cacheBytes)
      })
    }),
    { seed: 1, numRuns: 150 },
  )
})

test('random sequences over linear memory', () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      check(
        (queue) => new WasmHeap(4096, fakeMemory(2, 4000), queue, () => {}),
        sequence,
        () => {},
      )
    }),
    { seed: 1, numRuns: 150 },
  )
})

test('linear memory can be had whole again after it was cut up', () => {
  const queue = new Queue()
  const memory = fakeMemory(1, 1024)
  const heap = new WasmHeap(0, memory, queue, () => {})
  const blocks = Array.from({ length: 1000 }, () => heap.reserve(64 * 1024, false) as Block)
  const size = memory.buffer.byteLength
  for (const index of [...blocks.keys()].sort((a, b) => ((a * 7919) % 1000) - ((b * 7919) % 1000))) heap.release(blocks[index] as Block)
  expect(heap.reserve(size, false)?.address).toBe(0)
  expect(memory.buffer.byteLength).toBe(size)
})

test('classes are at most an eighth apart', () => {
  for (const bytes of [0, 1, 64, 65, 1000, 4096, 65536, 65537, 1e6, 2 ** 30, 2 ** 32 + 1]) {
    expect(sizeClass(bytes)).toBeGreaterThanOrEqual(Math.max(64, bytes))
    expect(sizeClass(bytes)).toBeLessThanOrEqual(Math.max(64, bytes * 1.125 + 64))
  }
  expect(sizeClass(65536 * 64 * 4)).toBe(65536 * 64 * 4)
})

test('a failed allocation says what was wanted and held, and changes nothing', () => {
  const allocator = new Allocator(new Endless(), new Queue(), OWN, MAX)
  const block = allocator.alloc(96 * MiB)
  const before = allocator.memory()
  expect(() => allocator.alloc(320 * MiB)).toThrow(`cpu: out of memory: ${320 * MiB} bytes requested with ${100 * MiB} bytes held`)
  expect(allocator.memory()).toEqual(before)
  allocator.free(block)
  // The cached block makes way.
  expect(allocator.alloc(320 * MiB).bytes).toBe(320 * MiB)
})
