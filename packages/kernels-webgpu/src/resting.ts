// Dawn in Node looks for finished work at every turn of the event loop, and so keeps a core busy for as long as something is awaited: one of those that do the
// work, where the adapter is in software.

/** Share of the time waited so far that a turn may take, so that an answer comes at most so much later. */
const SHARE = 1 / 16
/** Milliseconds that a turn may take, so that other work of the event loop is not held up. */
const LONGEST = 1

const nobody = typeof SharedArrayBuffer === 'undefined' ? undefined : new Int32Array(new SharedArrayBuffer(4))
const isNode = typeof process !== 'undefined' && process.release?.name === 'node' && !('Deno' in globalThis) && !('Bun' in globalThis)

let pending = 0
let began = 0
let resting = false

/** In Node: lets turns of the event loop sleep for a moment each until `work` settles. */
export function restUntil(work: Promise<unknown>): void {
  if (!isNode || !nobody) return
  pending++
  began = performance.now()
  const done = () => {
    pending--
  }
  work.then(done, done)
  if (resting) return
  resting = true
  setImmediate(rest)
}

function rest(): void {
  if (pending === 0) {
    resting = false
    return
  }
  Atomics.wait(nobody as Int32Array, 0, 0, Math.min(LONGEST, SHARE * (performance.now() - began)))
  setImmediate(rest)
}
