import { expect, it } from 'vitest'
import { provideWorkers } from './page-worker'

it("gives a page's workers to libraries that look for them", async () => {
  provideWorkers(3)
  const page = globalThis as unknown as {
    navigator: { hardwareConcurrency: number }
    Worker: new (url: string) => { onmessage: (event: { data: unknown }) => void; postMessage(message: unknown): void }
  }
  expect(page.navigator.hardwareConcurrency).toBe(3)
  const url = URL.createObjectURL(new Blob(['self.onmessage = (event) => postMessage(2 * event.data)']))
  const worker = new page.Worker(url)
  URL.revokeObjectURL(url)
  const answers: unknown[] = []
  await new Promise<void>((resolve) => {
    worker.onmessage = ({ data }) => {
      answers.push(data)
      if (answers.length === 1) worker.postMessage(4)
      else resolve()
    }
    worker.postMessage(3)
  })
  expect(answers).toEqual([6, 8])
  expect(() => new page.Worker(url)).toThrow('nothing lies at')
})
