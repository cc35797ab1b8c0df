import { DeviceError } from '@tilegrad/tensor'
import { assemble, type Constants, describeConstants, locate, type Shader } from './shader'

/** A pipeline that is being made or is there. */
export interface PipelineSlot {
  /** Undefined until it is there. */
  pipeline: GPUComputePipeline | undefined
  /** Settles when `pipeline` is set, or with why there is none: a DeviceError that shows the compiler's messages at their lines. */
  readonly ready: Promise<void>
  readonly bindGroupLayout: GPUBindGroupLayout
}

const layoutOfKind = {
  read: { buffer: { type: 'read-only-storage' } },
  read_write: { buffer: { type: 'storage' } },
  texture: { storageTexture: { access: 'read-only', format: 'rgba32float' } },
} as const

/** Compute pipelines by shader, entry point, constants and bindings, made asynchronously and once. */
export class Pipelines {
  private readonly slots = new Map<string, PipelineSlot>()
  private readonly layouts = new Map<string, GPUBindGroupLayout>()
  private readonly modules = new Map<string, GPUShaderModule>()
  /** Group 1: the parameters of a dispatch, at a dynamic offset. */
  readonly paramsLayout: GPUBindGroupLayout

  constructor(private readonly device: GPUDevice) {
    this.paramsLayout = device.createBindGroupLayout({
      label: 'params',
      entries: [{ binding: 0, visibility: COMPUTE, buffer: { type: 'uniform', hasDynamicOffset: true } }],
    })
  }

  /** @param names the bindings of the shader that the entry point uses */
  get(shader: Shader, entry: string, constants: Constants, names: readonly string[]): PipelineSlot {
    const variant = `${shader.name}.wgsl [${describeConstants(constants)}]`
    const key = `${variant} ${entry} ${names.join()}`
    const found = this.slots.get(key)
    if (found) return found
    const slot = this.create(shader, entry, constants, variant, names)
    this.slots.set(key, slot)
    return slot
  }

  private create(shader: Shader, entry: string, constants: Constants, variant: string, names: readonly string[]): PipelineSlot {
    const bindGroupLayout = this.layoutOf(shader, names)
    const making = this.device.createComputePipelineAsync({
      label: entry,
      layout: this.device.createPipelineLayout({ label: entry, bindGroupLayouts: [bindGroupLayout, this.paramsLayout] }),
      compute: { module: this.moduleOf(shader, constants, variant), entryPoint: entry },
    })
    const ready = making.then(
      (pipeline) => {
        slot.pipeline = pipeline
      },
      async (error) => {
        throw await this.explain(shader, entry, constants, variant, error)
      },
    )
    ready.catch(() => {}) // whoever waits for the pipeline reports it
    const slot: PipelineSlot = { pipeline: undefined, ready, bindGroupLayout }
    return slot
  }

  private layoutOf({ interface: { bindings } }: Shader, names: readonly string[]): GPUBindGroupLayout {
    const used = bindings.filter(({ name }) => names.includes(name))
    const key = used.map(({ index, kind }) => `${index} ${kind}`).join()
    const found = this.layouts.get(key)
    if (found) return found
    const layout = this.device.createBindGroupLayout({
      entries: used.map(({ index, kind }) => ({ binding: index, visibility: COMPUTE, ...layoutOfKind[kind] })),
    })
    this.layouts.set(key, layout)
    return layout
  }

  private moduleOf(shader: Shader, constants: Constants, variant: string): GPUShaderModule {
    const found = this.modules.get(variant)
    if (found) return found
    // Errors show up again, with their kernel, when the pipeline is made.
    this.device.pushErrorScope('validation')
    const module = this.device.createShaderModule({ label: variant, code: assemble(shader, constants) })
    this.device.popErrorScope().catch(() => {})
    this.modules.set(variant, module)
    return module
  }

  private async explain(shader: Shader, entry: string, constants: Constants, variant: string, cause: unknown): Promise<DeviceError> {
    const problems = await compilationErrors(this.moduleOf(shader, constants, variant), shader, constants).catch(() => [])
    const reason = problems.length > 0 ? problems.join('\n') : cause instanceof Error ? cause.message : String(cause)
    return new DeviceError(`webgpu: kernel '${entry}' of ${variant} does not compile:\n${reason}`, { cause })
  }
}

/** Errors of a shader module, each with the line of the `.wgsl` file that it is about. */
export async function compilationErrors(module: GPUShaderModule, shader: Shader, constants: Constants): Promise<string[]> {
  const { messages } = await module.getCompilationInfo()
  return messages
    .filter(({ type }) => type === 'error')
    .map(({ message, lineNum, linePos }) => {
      const { file, line, text } = locate(shader, constants, lineNum)
      return `${file}:${line}:${linePos}: ${message}\n  ${text.trim()}`
    })
}

/** GPUShaderStage.COMPUTE, which is not a global in Node. */
const COMPUTE = 4
