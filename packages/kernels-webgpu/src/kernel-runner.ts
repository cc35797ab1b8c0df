import {
  bytesPerElement,
  type DType,
  isContiguous,
  type Kernels,
  numel,
  type StridedHost,
  type Tensor,
  TilegradError,
  UnsupportedError,
} from '@tilegrad/tensor'
import { type Block, type BufferPool, BYTES_OF_TEXEL, TENSOR, TEXELS_A_ROW } from './buffer-pool'
import type { Bound, BoundBuffer, CommandStream, Range } from './command-stream'
import type { AttentionTiles, KernelContext, Run, Texels, View } from './kernel-context'
import type { PipelineSlot, Pipelines } from './pipelines'
import { type BindingInterface, packParams } from './reflect'
import { type Constants, describeConstants, type Shader } from './shader'
import { WebGPUStorage } from './storage'
import type { MatrixUnits } from './subgroup-matrix'
import { WebGPUTensor } from './tensor'

/** What a kernel method that is on has made. */
interface Call {
  readonly name: string
  readonly made: WebGPUTensor[]
  readonly temporaries: { dispose(): void }[]
}

interface Prepared {
  readonly slot: PipelineSlot
  /** Bindings by index. */
  readonly declared: Shader['interface']['bindings']
}

/** The KernelContext of a backend, over its command stream. */
export class KernelRunner implements KernelContext {
  readonly limits: GPUSupportedLimits
  readonly features: ReadonlySet<string>
  readonly placeholder: WebGPUTensor
  readonly mostTexels: number
  readonly measuredTiles = new Map<string, string>()
  private readonly calls: Call[] = []
  private readonly prepared = new Map<string, Prepared>()

  constructor(
    readonly backend: StridedHost<WebGPUStorage>,
    device: GPUDevice,
    readonly subgroupSizes: KernelContext['subgroupSizes'],
    readonly attentionTiles: AttentionTiles,
    readonly matrixUnits: MatrixUnits,
    private readonly pool: BufferPool,
    private readonly stream: CommandStream,
    private readonly pipelines: Pipelines,
  ) {
    this.limits = snapshot(device.limits)
    this.features = device.features
    this.mostTexels = this.limits.maxStorageTexturesPerShaderStage >= 4 ? TEXELS_A_ROW * this.limits.maxTextureDimension2D : 0
    const buffer = device.createBuffer({ label: 'placeholder', size: 16, usage: TENSOR })
    this.placeholder = new WebGPUTensor(backend, new WebGPUStorage(pool.adopt(buffer)), [4], 'f32')
  }

  run({ shader, entry, constants, bindings, params, workgroups }: Run): void {
    if (workgroups.includes(0)) return
    if (workgroups.some((count) => count > this.limits.maxComputeWorkgroupsPerDimension)) {
      this.unsupported(this.kernelName(entry), `${workgroups.join(' × ')} workgroups`)
    }
    const { slot, declared } = this.prepare(shader, entry, constants, Object.keys(bindings))
    const all = declared.map(({ name, index, kind }) => this.boundOf(entry, name, index, kind, bindings[name]))
    const { bound, after } = this.separate(all)
    this.stream.dispatch({ kernel: entry, slot, bindings: bound, params: packParams(shader.interface.params, params), workgroups })
    for (const [from, to] of after) this.stream.copy(from, to)
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): WebGPUTensor {
    const tensor = this.make(shape, dtype)
    this.calls.at(-1)?.made.push(tensor)
    return tensor
  }

  temporary(shape: readonly number[], dtype: DType = 'f32'): WebGPUTensor {
    const tensor = this.make(shape, dtype)
    this.calls.at(-1)?.temporaries.push(tensor)
    return tensor
  }

  texels(tensor: Tensor): Texels {
    const { storage, byteOffset, shape, strides, dtype } = tensor as WebGPUTensor
    const bytes = numel(shape) * bytesPerElement[dtype]
    if (dtype !== 'f32' || !isContiguous(shape, strides) || byteOffset % BYTES_OF_TEXEL !== 0 || bytes % BYTES_OF_TEXEL !== 0) {
      throw new TilegradError(`texels: a contiguous f32 tensor of whole vectors, got ${dtype} [${shape}] from byte ${byteOffset} on`)
    }
    const name = this.kernelName('texels')
    if (bytes > BYTES_OF_TEXEL * this.mostTexels) this.unsupported(name, `a texture of ${bytes} bytes`)
    if (storage.block.error) throw storage.block.error
    const texture = this.pool.allocTexture(name, bytes / BYTES_OF_TEXEL)
    if (bytes > 0) this.stream.fill(texture, { block: storage.block, offset: byteOffset, bytes })
    this.calls.at(-1)?.temporaries.push({ dispose: () => this.pool.release(texture) })
    return { texture }
  }

  scoped(run: () => void): void {
    this.call(this.kernelName('scoped'), run)
  }

  clear(tensor: Tensor): void {
    const { storage, byteOffset, shape, dtype } = tensor as WebGPUTensor
    const bytes = Math.ceil((numel(shape) * bytesPerElement[dtype]) / 4) * 4
    if (bytes > 0) this.stream.clear({ block: storage.block, offset: byteOffset, bytes })
  }

  contiguous(tensor: Tensor): WebGPUTensor {
    if (isContiguous(tensor.shape, tensor.strides)) return tensor as WebGPUTensor
    const copy = this.backend.kernels.copy(tensor) as WebGPUTensor
    this.calls.at(-1)?.temporaries.push(copy)
    return copy
  }

  hold(view: Tensor): WebGPUTensor {
    this.calls.at(-1)?.temporaries.push(view as WebGPUTensor)
    return view as WebGPUTensor
  }

  fits(tensor: Tensor): boolean {
    return this.reachOf(tensor as WebGPUTensor).bytes <= this.limits.maxStorageBufferBindingSize
  }

  view(tensor: Tensor): View {
    const bytes = bytesPerElement[tensor.dtype]
    const { byteOffset } = tensor as WebGPUTensor
    return { tensor: tensor as WebGPUTensor, start: (byteOffset % this.limits.minStorageBufferOffsetAlignment) / bytes }
  }

  touch(tensor: Tensor): void {
    ;(tensor as WebGPUTensor).storage.version++
  }

  grid(count: number): [number, number, 1] {
    const most = this.limits.maxComputeWorkgroupsPerDimension
    return count <= most ? [count, 1, 1] : [most, Math.ceil(count / most), 1]
  }

  element(kernel: string, dtype: DType): 'f32' | 'f16' | 'i32' {
    if (dtype === 'bf16') this.unsupported(kernel, dtype)
    if (dtype === 'f16' && !this.features.has('shader-f16')) this.unsupported(kernel, "f16 on a device without the feature 'shader-f16'")
    return dtype
  }

  unsupported(kernel: string, what: string): never {
    throw new UnsupportedError('webgpu', kernel, what)
  }

  /** The same kernels, cleaned up after: temporaries always, everything that was made when one throws. */
  cleaned(kernels: Kernels, assertLive: (fn: string) => void): Kernels {
    const cleaned = Object.entries(kernels).map(([name, kernel]) => {
      const run = kernel as (...args: unknown[]) => unknown
      return [
        name,
        (...args: unknown[]) => {
          assertLive(name)
          return this.call(name, () => run(...args))
        },
      ]
    })
    return Object.fromEntries(cleaned) as Kernels
  }

  private call<T>(name: string, run: () => T): T {
    const call: Call = { name, made: [], temporaries: [] }
    this.calls.push(call)
    try {
      return run()
    } catch (error) {
      for (const tensor of call.made) tensor.dispose()
      throw error
    } finally {
      for (const tensor of call.temporaries) tensor.dispose()
      this.calls.pop()
    }
  }

  private make(shape: readonly number[], dtype: DType): WebGPUTensor {
    const block = this.pool.alloc(this.kernelName('empty'), numel(shape) * bytesPerElement[dtype])
    return new WebGPUTensor(this.backend, new WebGPUStorage(block, this.pool), [...shape], dtype)
  }

  private kernelName(otherwise: string): string {
    return this.calls.at(-1)?.name ?? otherwise
  }

  /** What is the same for every dispatch of a kernel. */
  private prepare(shader: Shader, entry: string, constants: Constants, names: readonly string[]): Prepared {
    let key = `${shader.name} ${entry} ${names.join()}`
    for (const name in constants) key += ` ${constants[name]}`
    const found = this.prepared.get(key)
    if (found) return found
    this.checkVariant(shader, entry, constants, names)
    const declared = shader.interface.bindings.filter(({ name }) => names.includes(name)).sort((a, b) => a.index - b.index)
    const prepared = { slot: this.pipelines.get(shader, entry, constants, names), declared }
    this.prepared.set(key, prepared)
    return prepared
  }

  private checkVariant(
    { name: shader, variants, interface: declared }: Shader,
    entry: string,
    constants: Constants,
    names: readonly string[],
  ) {
    const variant = describeConstants(constants)
    if (!variants.some((known) => describeConstants(known) === variant) || !declared.entries.includes(entry)) {
      throw new TilegradError(`${shader}.wgsl: no variant '${variant}' of '${entry}' is declared`)
    }
    const unknown = names.find((name) => !declared.bindings.some((binding) => binding.name === name))
    if (unknown) throw new TilegradError(`${shader}.wgsl: no binding '${unknown}' for '${entry}'`)
  }

  private boundOf(
    entry: string,
    name: string,
    index: number,
    kind: BindingInterface['kind'],
    binding: Run['bindings'][string] | undefined,
  ): Bound {
    if (binding && 'texture' in binding !== (kind === 'texture'))
      throw new TilegradError(`${entry}: ${name} must be bound as it is declared`)
    if (binding && 'texture' in binding) {
      if (binding.texture.error) throw binding.texture.error
      return { index, texture: binding.texture }
    }
    return { ...this.rangeOf(entry, name, tensorOf(binding)), index, written: kind === 'read_write' }
  }

  /** The part of a buffer that a view reaches. @throws the error that made its elements worthless; UnsupportedError beyond the binding limit. */
  private rangeOf(entry: string, name: string, tensor: WebGPUTensor): Range {
    const { block } = tensor.storage
    if (block.error) throw block.error
    const { offset, bytes } = this.reachOf(tensor)
    const most = this.limits.maxStorageBufferBindingSize
    if (bytes > most) {
      this.unsupported(this.kernelName(entry), `${name} of ${bytes} bytes: this device binds at most ${most}; split the call`)
    }
    return { block, offset, bytes }
  }

  /** From an aligned offset to the last element. */
  private reachOf({ storage: { block }, byteOffset, shape, strides, dtype }: WebGPUTensor): { offset: number; bytes: number } {
    const alignment = this.limits.minStorageBufferOffsetAlignment
    const offset = shape.includes(0) ? 0 : Math.floor(byteOffset / alignment) * alignment
    const reach = shape.includes(0) ? 0 : shape.reduce((at, size, axis) => at + (size - 1) * (strides[axis] as number), 1)
    const end = byteOffset + reach * bytesPerElement[dtype]
    return { offset, bytes: Math.min(Math.max(16, Math.ceil((end - offset) / 4) * 4), block.bytes - offset) }
  }

  /**
   * WebGPU refuses a dispatch that reads a buffer it also writes, or writes two overlapping ranges. Inputs that share their buffer with a result
   * are read from a copy, and results that overlap are written to a copy and copied back.
   */
  private separate(bindings: readonly Bound[]): { bound: Bound[]; after: (readonly [Range, Range])[] } {
    const after: (readonly [Range, Range])[] = []
    const written = new Map<Block, BoundBuffer[]>()
    for (const binding of bindings) {
      if ('block' in binding && binding.written) written.set(binding.block, [...(written.get(binding.block) ?? []), binding])
    }
    const bound = bindings.map((binding) => {
      if ('texture' in binding) return binding
      const rivals = written.get(binding.block)
      if (!rivals || (binding.written && rivals.every((other) => other === binding || !overlap(other, binding)))) return binding
      if (binding.written && rivals[0] === binding) return binding
      const copy = { block: this.scratch(binding.bytes), offset: 0, bytes: binding.bytes }
      this.stream.copy(binding, copy)
      if (binding.written) after.push([copy, binding])
      return { ...binding, ...copy }
    })
    return { bound, after }
  }

  private scratch(bytes: number): Block {
    return this.temporary([bytes / 4]).storage.block
  }
}

function tensorOf(binding: Tensor | View | undefined): WebGPUTensor {
  return (binding && 'tensor' in binding ? binding.tensor : binding) as WebGPUTensor
}

/** Limits as plain numbers: reading one of the device's calls into it each time. */
function snapshot(limits: GPUSupportedLimits): GPUSupportedLimits {
  const values: Record<string, unknown> = {}
  for (const name in limits) values[name] = limits[name as keyof GPUSupportedLimits]
  return values as unknown as GPUSupportedLimits
}

function overlap(a: Range, b: Range): boolean {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}
