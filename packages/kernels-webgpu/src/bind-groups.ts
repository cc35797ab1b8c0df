import type { Bound } from './command-stream'

/** Bind groups kept for the next step of a training run, which binds the same buffers again; beyond, the oldest goes. */
const KEPT = 4096

/** Bind groups by layout, ranges of buffers and textures. */
export class BindGroups {
  private readonly groups = new Map<string, GPUBindGroup>()
  private readonly layoutIds = new Map<GPUBindGroupLayout, number>()

  constructor(private readonly device: GPUDevice) {}

  /** @param kernel labels a new group, so that the device's messages name it */
  get(kernel: string, layout: GPUBindGroupLayout, bindings: readonly Bound[]): GPUBindGroup {
    let key = `${kernel} ${this.idOf(layout)}`
    for (const bound of bindings) key += 'texture' in bound ? ` ${bound.texture.id}` : ` ${bound.block.id}:${bound.offset}:${bound.bytes}`
    const found = this.groups.get(key)
    if (found) return found
    const group = this.device.createBindGroup({
      label: kernel,
      layout,
      entries: bindings.map((bound) => ({
        binding: bound.index,
        resource: 'texture' in bound ? bound.texture.view : { buffer: bound.block.buffer, offset: bound.offset, size: bound.bytes },
      })),
    })
    this.groups.set(key, group)
    if (this.groups.size > KEPT) this.groups.delete(this.groups.keys().next().value as string)
    return group
  }

  private idOf(layout: GPUBindGroupLayout): number {
    const id = this.layoutIds.get(layout) ?? this.layoutIds.size
    this.layoutIds.set(layout, id)
    return id
  }
}
