import { CheckpointError } from '../errors/checkpoint-error'

/** Random access to the bytes of a file or of memory. */
export interface ByteSource {
  /** For messages. */
  readonly name: string
  readonly bytes: number
  /** Bytes `[offset, offset + length)` in fresh memory; the caller stays within `bytes`. */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>
  close(): Promise<void>
}

/** Bytes in memory, e.g. of a download. */
export function memorySource(name: string, data: Uint8Array): ByteSource {
  return {
    name,
    bytes: data.length,
    read: async (offset, length) => new Uint8Array(data.slice(offset, offset + length)),
    close: async () => {},
  }
}

/** The most that one system call reads. */
const chunkBytes = 2 ** 30

/** An open file; `close` it. */
export async function fileSource(path: string): Promise<ByteSource> {
  const { open } = await import('node:fs/promises')
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new CheckpointError(path, error.code === 'ENOENT' ? 'no such file' : `cannot be opened: ${error.message}`)
  })
  const stats = await file.stat()
  if (!stats.isFile()) {
    await file.close()
    throw new CheckpointError(path, 'is not a file')
  }
  const { size } = stats
  return {
    name: path,
    bytes: size,
    async read(offset, length) {
      const bytes = new Uint8Array(length)
      for (let done = 0; done < length; ) {
        const { bytesRead } = await file.read(bytes, done, Math.min(length - done, chunkBytes), offset + done)
        if (bytesRead === 0) throw new CheckpointError(path, `truncated while it was read: ended at byte ${offset + done} of ${size}`)
        done += bytesRead
      }
      return bytes
    },
    close: () => file.close(),
  }
}
