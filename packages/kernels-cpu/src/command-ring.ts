import { DisposedError } from '@tilegrad/tensor'

// Mirrors CommandControl and Operation of native/commands.h: offsets in 32-bit words, then in float64 elements.
const TAIL = 0
const STOP = 1
const PROFILING = 2
const HEAD = 16
const COMPLETED = 17
const SLEEPING = 18
const PROFILE = 16
const PROFILE_SLOTS = 128
const RING = PROFILE + 2 * PROFILE_SLOTS
const RING_LENGTH = 1 << 16
/** Bytes of a CommandControl. */
export const controlBytes = (RING + RING_LENGTH) * 8

const OPERATION = { wrap: -1, fence: -2, release: -3, tell: -4, measure: -5 } as const
/** Left free by ordinary commands, so that a full ring still has room to ask when it is empty again. */
const RESERVE = 16
const ROOM = -2

/** How the ring reaches the executor at its other end. */
export interface RingHost {
  /** Called when commands were added while the executor slept, or always where commands run in the caller's thread. */
  wake(): void
  /** Commands run inside `wake`, so that it must be called each time. */
  readonly inline: boolean
  /** The process must not exit: somebody waits. Called with false when nobody does any more. */
  hold(waiting: boolean): void
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/**
 * The TypeScript end of the command queue: writes commands into memory that the executor reads. `submit` never waits. What does not
 * fit stays in order in a backlog until there is room.
 */
export class CommandRing {
  /** Commands submitted so far, those in the backlog included. */
  submitted = 0
  private ints!: Int32Array
  private doubles!: Float64Array
  private tail = 0
  private readonly backlog: number[][] = []
  private askedForRoom = false
  private readonly waiters = new Map<number, Waiter>()
  private nextFence = 1
  private failure: Error | undefined

  constructor(private readonly host: RingHost) {}

  /** Says where the CommandControl lies; again when the memory has moved. `offset` is a multiple of 64. */
  attach(buffer: ArrayBufferLike, offset: number): void {
    this.ints = new Int32Array(buffer, offset, controlBytes / 4)
    this.doubles = new Float64Array(buffer, offset, controlBytes / 8)
  }

  /** Commands done so far. */
  get completed(): number {
    return this.submitted - ((this.submitted - Atomics.load(this.ints, COMPLETED)) >>> 0)
  }

  get idle(): boolean {
    return this.completed === this.submitted
  }

  /** Enqueues the kernel of that index in the table. */
  kernel(index: number, args: readonly number[]): void {
    this.submit(index, args)
  }

  /** Gives memory back to the system when everything before is done. */
  release(address: number, bytes: number): void {
    this.submit(OPERATION.release, [address, bytes])
  }

  /** Resolves when everything submitted so far is done. */
  fence(): Promise<void> {
    if (this.failure) return Promise.reject(this.failure)
    if (this.idle) return Promise.resolve()
    const id = this.nextFence++
    return new Promise((resolve, reject) => {
      if (this.waiters.size === 0) this.host.hold(true)
      this.waiters.set(id, { resolve, reject })
      this.submit(OPERATION.fence, [id])
    })
  }

  /** The executor passed a fence. */
  onFence(id: number): void {
    if (id === ROOM) {
      this.askedForRoom = false
      this.flush()
      return
    }
    const waiter = this.waiters.get(id)
    this.waiters.delete(id)
    if (this.waiters.size === 0) this.host.hold(false)
    waiter?.resolve()
  }

  /** Everything that waits, and will, rejects with `error`. */
  fail(error: Error): void {
    this.failure ??= error
    if (this.waiters.size > 0) this.host.hold(false)
    for (const waiter of this.waiters.values()) waiter.reject(error)
    this.waiters.clear()
    this.backlog.length = 0
  }

  /** Tells the executor to run nothing more. */
  stop(): void {
    Atomics.store(this.ints, STOP, 1)
    Atomics.add(this.ints, TAIL, 1)
    this.host.wake()
  }

  /** The time of the next command goes to this slot of the profile instead of its kernel's. Only while profiling. */
  measure(slot: number): void {
    this.submit(OPERATION.measure, [slot])
  }

  /** Slots of the profile; the first are those of the kernels. */
  get profileSlots(): number {
    return PROFILE_SLOTS
  }

  setProfiling(on: boolean): void {
    if (on) this.doubles.fill(0, PROFILE, RING)
    Atomics.store(this.ints, PROFILING, on ? 1 : 0)
  }

  /** Commands and milliseconds of that slot since setProfiling(true). */
  profileOf(slot: number): { calls: number; milliseconds: number } {
    const at = PROFILE + 2 * slot
    return { calls: this.doubles[at] as number, milliseconds: this.doubles[at + 1] as number }
  }

  private submit(operation: number, args: readonly number[]): void {
    if (this.failure) throw this.failure
    this.submitted++
    if (this.backlog.length > 0) this.flush()
    if (this.backlog.length > 0 || !this.write(operation, args, RESERVE)) {
      this.backlog.push([operation, ...args])
      this.askForRoom()
    }
  }

  private flush(): void {
    let done = 0
    for (const [operation, ...args] of this.backlog) {
      if (!this.write(operation as number, args, RESERVE)) break
      done++
    }
    this.backlog.splice(0, done)
    if (this.backlog.length > 0) this.askForRoom()
  }

  private askForRoom(): void {
    if (this.askedForRoom) return
    this.askedForRoom = true
    this.write(OPERATION.tell, [ROOM], 0)
  }

  /** False if fewer than `reserve` elements would stay free. */
  private write(operation: number, args: readonly number[], reserve: number): boolean {
    const length = args.length + 2
    const at = this.tail % RING_LENGTH
    const gap = at + length > RING_LENGTH ? RING_LENGTH - at : 0
    const used = (this.tail - Atomics.load(this.ints, HEAD)) >>> 0
    if (used + gap + length + reserve > RING_LENGTH) return false
    if (gap > 0) this.doubles[RING + at] = OPERATION.wrap
    const start = RING + ((this.tail + gap) % RING_LENGTH)
    this.doubles[start] = operation
    this.doubles[start + 1] = length
    for (let i = 0; i < args.length; i++) this.doubles[start + 2 + i] = args[i] as number
    this.tail += gap + length
    Atomics.store(this.ints, TAIL, this.tail | 0)
    if (this.host.inline || Atomics.load(this.ints, SLEEPING) !== 0) this.host.wake()
    return true
  }
}

/** The error of whoever still waits when the backend is disposed. */
export function disposedError(fn: string): DisposedError {
  return new DisposedError(fn, 'the cpu backend')
}
