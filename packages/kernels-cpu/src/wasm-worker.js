// @ts-check
// One worker of the WebAssembly engine: runs the module's work() on shared memory until it is terminated. Plain JavaScript, since
// workers are loaded by URL, from src/ in tests and from dist/ in the package.

/** @typedef {{ module: WebAssembly.Module, memory: WebAssembly.Memory, worker: number, stackTop: number }} Start */
/** @typedef {{ __stack_pointer: WebAssembly.Global, work(worker: number): void }} Exports */

/** @param {{ postMessage(message: unknown): void }} port */
function listener(port) {
  return async (/** @type {Start} */ { module, memory, worker, stackTop }) => {
    try {
      const env = {
        memory,
        fence: (/** @type {number} */ id) => port.postMessage({ fence: id }),
        milliseconds: () => performance.now(),
      }
      const instance = await WebAssembly.instantiate(module, { env })
      const exports = /** @type {Exports} */ (/** @type {unknown} */ (instance.exports))
      exports.__stack_pointer.value = stackTop
      port.postMessage({ ready: true })
      exports.work(worker)
    } catch (error) {
      port.postMessage({ error: String(error) })
    }
  }
}

if (typeof process !== 'undefined' && process.versions?.node) {
  const name = 'worker_threads'
  import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`).then(({ parentPort }) =>
    parentPort.on('message', listener(parentPort)),
  )
} else {
  const listen = listener(globalThis)
  globalThis.onmessage = ({ data }) => listen(data)
}
