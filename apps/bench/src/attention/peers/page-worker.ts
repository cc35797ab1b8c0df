import { resolveObjectURL } from 'node:buffer'
import { Worker } from 'node:worker_threads'

/** A page's surroundings for the source in a blob: `self`, `postMessage` and `onmessage`. */
const surroundings = `
const { parentPort } = require('node:worker_threads')
globalThis.self = globalThis
globalThis.postMessage = (message) => parentPort.postMessage(message)
parentPort.on('message', (data) => globalThis.onmessage({ data }))
`

/** What a library for pages needs of `Worker` to use threads in Node: a script in a blob, and messages both ways. */
class BlobWorker {
  onmessage: ((event: { data: unknown }) => void) | undefined
  onerror: ((error: Error) => void) | undefined
  private worker: Worker | undefined
  private readonly waiting: unknown[] = []

  constructor(url: string) {
    // Before the caller revokes the address.
    const blob = resolveObjectURL(url)
    if (!blob) throw new Error(`Worker: nothing lies at ${url}`)
    blob.text().then((source) => {
      this.worker = new Worker(surroundings + source, { eval: true, execArgv: [] })
      this.worker.unref()
      this.worker.on('message', (data) => this.onmessage?.({ data }))
      this.worker.on('error', (error: Error) => this.onerror?.(error))
      for (const message of this.waiting.splice(0)) this.worker.postMessage(message)
    })
  }

  postMessage(message: unknown): void {
    if (this.worker) this.worker.postMessage(message)
    else this.waiting.push(message)
  }
}

/** Makes this process look like a page of a machine with so many processors, for libraries that are loaded after it. */
export function provideWorkers(threads: number): void {
  const navigator = { hardwareConcurrency: threads }
  Object.defineProperty(globalThis, 'navigator', { value: navigator, configurable: true })
  Object.defineProperty(globalThis, 'Worker', { value: BlobWorker, configurable: true })
}
