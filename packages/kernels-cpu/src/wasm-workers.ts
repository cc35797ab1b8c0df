import { importNode, isNode } from './node'

/** A worker of either kind: of Node's worker_threads or of a page. */
export interface EngineWorker {
  post(message: unknown): void
  /** Whether the process stays alive for it. */
  hold(waiting: boolean): void
  terminate(): Promise<void>
}

/** What src/wasm-worker.js sends. */
export interface WorkerMessage {
  readonly ready?: boolean
  readonly fence?: number
  readonly error?: string
}

interface PageWorker {
  onmessage: (event: { data: WorkerMessage }) => void
  onerror: (event: { message?: string }) => void
  postMessage(message: unknown): void
  terminate(): void
}
declare const Worker: new (url: URL, options: { type: 'module' }) => PageWorker

// Not for bundlers: in Node the file lies beside this one.
const here = import.meta.url

export async function startWorker(receive: (message: WorkerMessage) => void): Promise<EngineWorker> {
  return isNode ? startNodeWorker(receive) : startPageWorker(receive)
}

async function startNodeWorker(receive: (message: WorkerMessage) => void): Promise<EngineWorker> {
  const { Worker } = await importNode('worker_threads')
  const worker = new Worker(new URL('./wasm-worker.js', here), { execArgv: [] })
  worker.on('message', receive)
  worker.on('error', (error) => receive({ error: String(error) }))
  return {
    post: (message) => worker.postMessage(message),
    hold: (waiting) => (waiting ? worker.ref() : worker.unref()),
    terminate: async () => {
      await worker.terminate()
    },
  }
}

function startPageWorker(receive: (message: WorkerMessage) => void): EngineWorker {
  const worker = new Worker(new URL('./wasm-worker.js', import.meta.url), { type: 'module' })
  worker.onmessage = ({ data }) => receive(data)
  worker.onerror = ({ message }) => receive({ error: message ?? 'the worker did not load' })
  return {
    post: (message) => worker.postMessage(message),
    hold: () => {},
    terminate: async () => worker.terminate(),
  }
}
