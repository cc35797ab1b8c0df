import type { FileHandle } from 'node:fs/promises'

/**
 * Replaces the file at `path` so that whoever reads it at any moment, also after a crash, finds the old content or the new one, whole:
 * writes a file beside it, fsyncs it, renames it, and fsyncs the directory. `data` may be a stream of pieces of any total size.
 * On failure (e.g. a full disk) the file is as before, the piece beside it is removed, and the system's error is thrown.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const { open, rename, rm } = await import('node:fs/promises')
  const { basename, dirname, join } = await import('node:path')
  const folder = dirname(path)
  const aside = join(folder, `.${basename(path)}.${process.pid}.${crypto.randomUUID().slice(0, 8)}.tmp`)
  try {
    const file = await open(aside, 'wx')
    try {
      await writeAll(file, data)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(aside, path)
  } catch (error) {
    await rm(aside, { force: true })
    throw error
  }
  await syncFolder(folder)
}

async function writeAll(file: FileHandle, data: Parameters<typeof writeFileAtomic>[1]): Promise<void> {
  const pieces = typeof data === 'string' ? [new TextEncoder().encode(data)] : data instanceof Uint8Array ? [data] : data
  for await (const piece of pieces) {
    for (let done = 0; done < piece.length; ) {
      const { bytesWritten } = await file.write(piece, done, piece.length - done)
      done += bytesWritten
    }
  }
}

/** Makes the renaming itself durable; systems whose directories cannot be opened (Windows) do that on their own. */
async function syncFolder(folder: string): Promise<void> {
  const { open } = await import('node:fs/promises')
  const handle = await open(folder, 'r').catch(() => undefined)
  try {
    await handle?.sync().catch(() => {})
  } finally {
    await handle?.close()
  }
}
