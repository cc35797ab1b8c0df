import { CheckpointError } from '../errors/checkpoint-error'
import { readSafetensors, type SafetensorsFile, type TensorSource } from './safetensors'

/**
 * The tensors of all files that a `model.safetensors.index.json` names; `close` it.
 * @throws CheckpointError if the index is malformed, leaves its folder, or a shard is missing, corrupt or lacks a tensor.
 */
export async function readSharded(folder: string, indexFile: string, index: unknown): Promise<TensorSource> {
  const { join } = await import('node:path')
  const placed = weightMap(indexFile, index)
  const files = new Map<string, SafetensorsFile>()
  const close = async () => {
    for (const file of files.values()) await file.close()
  }
  try {
    const shapes = new Map<string, readonly number[]>()
    for (const [name, shard] of placed) {
      const file = files.get(shard) ?? (await readSafetensors(join(folder, shard)))
      files.set(shard, file)
      const shape = file.entries.get(name)?.shape
      if (!shape) throw new CheckpointError(join(folder, shard), `tensor '${name}' is missing, which ${indexFile} places there`)
      shapes.set(name, shape)
    }
    const readF32 = (name: string) => (files.get(placed.get(name) as string) as SafetensorsFile).readF32(name)
    return { metadata: {}, shapes, readF32, close }
  } catch (error) {
    await close()
    throw error
  }
}

function weightMap(indexFile: string, index: unknown): Map<string, string> {
  const map = (index as { weight_map?: unknown } | null)?.weight_map
  if (typeof map !== 'object' || map === null) throw new CheckpointError(indexFile, "must have an object 'weight_map'")
  for (const [name, shard] of Object.entries(map)) {
    // A file beside the index and nowhere else: a downloaded index must not reach the rest of the disk.
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) {
      throw new CheckpointError(
        indexFile,
        `tensor '${name}' must be in a .safetensors file of the same folder, got ${JSON.stringify(shard)}`,
      )
    }
  }
  return new Map(Object.entries(map as Record<string, string>))
}
