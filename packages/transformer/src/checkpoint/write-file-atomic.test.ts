import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { writeFileAtomic } from './write-file-atomic'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'atomic-'))
})
afterEach(() => rm(folder, { recursive: true }))

test('writes strings, bytes and streams, and nothing beside them', async () => {
  const path = join(folder, 'file')
  await writeFileAtomic(path, 'é')
  expect(await readFile(path, 'utf8')).toBe('é')
  await writeFileAtomic(path, Uint8Array.from([1, 2]))
  expect([...(await readFile(path))]).toEqual([1, 2])
  await writeFileAtomic(path, [Uint8Array.from([3]), new Uint8Array(0), Uint8Array.from([4, 5])])
  expect([...(await readFile(path))]).toEqual([3, 4, 5])
  expect(await readdir(folder)).toEqual(['file'])
})

test('shows the old file until the new one is whole, and keeps it if that fails', async () => {
  const path = join(folder, 'file')
  await writeFileAtomic(path, 'old')
  const seen: string[] = []
  async function* failing() {
    yield new Uint8Array(100_000)
    seen.push(await readFile(path, 'utf8'))
    throw new Error('disk full')
  }
  await expect(writeFileAtomic(path, failing())).rejects.toThrow('disk full')
  expect(seen).toEqual(['old'])
  expect(await readFile(path, 'utf8')).toBe('old')
  expect(await readdir(folder)).toEqual(['file'])
})

test('of two writers at once one wins whole', async () => {
  const path = join(folder, 'file')
  const [a, b] = ['a', 'b'].map((letter) => letter.repeat(300_000)) as [string, string]
  await Promise.all([writeFileAtomic(path, a), writeFileAtomic(path, b)])
  expect([a, b]).toContain(await readFile(path, 'utf8'))
  expect(await readdir(folder)).toEqual(['file'])
})

test("says the system's reason where nothing can be written", async () => {
  await expect(writeFileAtomic(join(folder, 'none', 'file'), 'x')).rejects.toMatchObject({ code: 'ENOENT' })
})
