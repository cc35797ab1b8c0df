/** Dawn goes, and takes its devices with it, when what `create` gave is garbage. */
let gpu: GPU | undefined

/**
 * A device of Dawn's null backend (npm package `webgpu`): it has every feature, takes every shader through Tint and the checks of pipelines, and runs nothing. What
 * needs hardware that a machine has not is compiled on it.
 *
 * @throws Error if the installed `webgpu` has no such backend: then nothing is left that compiles these shaders here
 */
export async function createNullDevice(): Promise<GPUDevice> {
  const { create } = (await import('webgpu')) as { create(options: string[]): GPU }
  gpu ??= create(['backend=null', 'enable-dawn-features=allow_unsafe_apis'])
  const adapter = await gpu.requestAdapter()
  if (!adapter) throw new Error("the npm package 'webgpu' gives no adapter for 'backend=null', which compiles shaders for missing hardware")
  const requiredFeatures = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[]
  return adapter.requestDevice({ requiredFeatures })
}
