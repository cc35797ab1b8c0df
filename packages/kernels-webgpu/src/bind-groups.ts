import type { Block } from './buffer-pool'

interface Binding {
  readonly index: number
  readonly block: Block
  readonly offset: number
  readonly bytes: number
}

/** Bind groups kept for the next step of a training run, which binds the same buffers again; beyond, the oldest goes. */
const KEPT = 4096

/** Bind groups by layout and ranges of buffers. */
export class BindGroups {
  private readonly groups = new Map<string, GPUBindGroup>()
  private readonly layoutIds = new Map<GPUBindGroupLayout, number>()

  constructor(private readonly device: GPUDevice) {}

  /** @param kernel labels a new group, so that the device's messages name it */
  get(kernel: string, layout: GPUBindGroupLayout, bindings: readonly Binding[]): GPUBindGroup {
    let key = `${kernel} ${this.idOf(layout)}`
    for (const { block, offset, bytes } of bindings) key += ` ${block.id}:${offset}:${bytes}`
    const found = this.groups.get(key)
    if (found) return found
    const group = this.device.createBindGroup({
      label: kernel,
      layout,
      entries: bindings.map(({ index, block: { buffer }, offset, bytes }) => ({
        binding: index,
        resource: { buffer, offset, size: bytes },
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
