// Attention, forward and backward, in the page; in a worker too where a bundler has resolved its imports (import maps do not reach workers).
import { check } from './check.js'

const bundled = import.meta.env !== undefined

try {
  const report = { page: await check(), ...(bundled ? { worker: await checkInWorker() } : {}) }
  document.getElementById('report').textContent = JSON.stringify(report, null, 2)
  document.body.dataset.report = JSON.stringify(report)
} catch (error) {
  document.getElementById('report').textContent = String(error)
  document.body.dataset.report = JSON.stringify({ error: String(error) })
}

function checkInWorker() {
  const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error === undefined ? resolve(data.results) : reject(new Error(data.error)))
    worker.onerror = ({ message }) => reject(new Error(message))
  }).finally(() => worker.terminate())
}
