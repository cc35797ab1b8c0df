import type { DType, StridedHost, Tensor } from '@tilegrad/tensor'
import type { TextureBlock } from './buffer-pool'
import type { Constants, Shader } from './shader'
import type { WebGPUStorage } from './storage'
import type { MatrixUnits } from './subgroup-matrix'
import type { WebGPUTensor } from './tensor'

/** A tensor as it is bound: its buffer from an aligned offset on. */
export interface View {
  readonly tensor: WebGPUTensor
  /** Elements between the start of the binding and the tensor's first element: offsets of bindings are aligned (to 256 bytes by default). */
  readonly start: number
}

/** A copy of a tensor in a texture, vector after vector of four f32, in rows of 1024: shaders/texels.wgsl reads them. */
export interface Texels {
  readonly texture: TextureBlock
}

/** Which tiles attention uses, where that is not left to it. Tiles differ in the order of their sums: each gives the same bits every time, and no two give the same. */
export interface AttentionTiles {
  /** For attentionForward: a tile by its name (`plain-32x32`), or the best of a variant (`plain`, `software`, `subgroups`). */
  readonly forward?: string
  /** For attentionBackward: the same; `plain` and `software` have one tile for each head dim. */
  readonly backward?: string
}

/** One dispatch: an entry point of a shader under a set of constants, with what its declarations name. */
export interface Run {
  readonly shader: Shader
  /** A `@compute` function of the shader. Profiles and error messages show it. */
  readonly entry: string
  /** One of the shader's variants. */
  readonly constants: Constants
  /** By the names of `var<storage>` and of textures: those that the entry point uses, no more. An input whose
   * buffer is also written is read from a copy that `run` makes: a kernel that works in place avoids it by an alias flag (kernels/elementwise.ts). */
  readonly bindings: Readonly<Record<string, Tensor | View | Texels>>
  /** By the names of the fields of `struct Params`: all of them. */
  readonly params: Readonly<Record<string, number>>
  /** At most `limits.maxComputeWorkgroupsPerDimension` each; `ctx.grid(n)` folds a longer line. Nothing is done where one is 0. */
  readonly workgroups: readonly [number, number, number]
}

/**
 * What the TypeScript half of a kernel works with. A dispatcher (src/kernels/<stem>.ts) is a function
 * `(ctx: KernelContext) => Pick<Kernels, …>` whose methods check their arguments with @tilegrad/tensor's check functions, make
 * their results with `empty`, and enqueue entry points of src/shaders/<stem>.wgsl with `run`. It does not clean up: when a method of `Kernels`
 * returns, the context disposes of its temporaries, and when it throws, of everything that it made.
 */
export interface KernelContext {
  /** The first argument of every check function. */
  readonly backend: StridedHost<WebGPUStorage>
  readonly limits: GPUSupportedLimits
  /** Of the device: `shader-f16`, `subgroups`, … */
  readonly features: ReadonlySet<string>
  /** Smallest and largest subgroup that the adapter may run, or undefined where it does not say. Never assume a size in between. Tests emulate sizes. */
  readonly subgroupSizes: { readonly min: number; readonly max: number; readonly emulated?: true } | undefined
  /** Subgroup matrices that kernels may use: none unless the caller asked for them. */
  readonly matrixUnits: MatrixUnits

  /** What the backend's options say of attention's tiles. */
  readonly attentionTiles: AttentionTiles
  /** The tiles that tuneAttention has found, by class of calls. */
  readonly measuredTiles: Map<string, string>

  /** 16 bytes to bind where an entry point declares an input that a variant does not read. */
  readonly placeholder: Tensor

  /** Enqueues a dispatch. @throws UnsupportedError for a tensor beyond the binding limit. */
  run(run: Run): void
  /** A new contiguous tensor, uninitialised: a result, which the caller of the kernel owns. */
  empty(shape: readonly number[], dtype?: DType): WebGPUTensor
  /** As `empty`, and disposed when the kernel's method returns. What is enqueued by then may use it (memory is stream-ordered). */
  temporary(shape: readonly number[], dtype?: DType): WebGPUTensor
  /** Vectors of four elements that a texture holds: 0 where kernels cannot read textures. */
  readonly mostTexels: number
  /** Runs a part of a kernel's method whose temporaries are disposed when it returns. It makes no results. */
  scoped(run: () => void): void
  /**
   * A copy of a contiguous f32 tensor in a texture, disposed as temporaries are. Its vectors of four begin at the tensor's first element, which must lie at a
   * multiple of 16 bytes. Adapters in software read textures five times as fast as buffers. @throws UnsupportedError for more than `mostTexels`
   */
  texels(tensor: Tensor): Texels
  /** Sets a tensor that begins at a multiple of 4 bytes, and is contiguous, to zeros. */
  clear(tensor: Tensor): void
  /** The tensor itself if it is contiguous, else a temporary contiguous copy in its dtype. */
  contiguous(tensor: Tensor): WebGPUTensor
  /** A view of one's making (`tensor.slice(…)`), which is then disposed when the kernel's method returns. */
  hold(view: Tensor): WebGPUTensor
  /** Whether it can be bound whole: kernels/pieces.ts cuts what cannot. */
  fits(tensor: Tensor): boolean
  /** How a tensor is bound. Strides are `tensor.strides`, in elements. */
  view(tensor: Tensor): View
  /** Counts an in-place write to `tensor`: for `out`, `accumulateInto` and parameters. */
  touch(tensor: Tensor): void
  /** Workgroups [x, y, 1] with x·y ≥ count, for shaders that take `workgroup.y * GRID + workgroup.x` and return beyond the end. */
  grid(count: number): [number, number, 1]
  /** The WGSL type of a tensor's elements: `f32`, `f16` or `i32`. @throws UnsupportedError for bf16, and for f16 on a device without shader-f16. */
  element(kernel: string, dtype: DType): 'f32' | 'f16' | 'i32'
  /** Throws UnsupportedError (`webgpu: no kernel 'rope' for bf16`). */
  unsupported(kernel: string, what: string): never
}
