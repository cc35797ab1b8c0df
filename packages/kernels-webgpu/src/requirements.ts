/** Limits of which more lets kernels use larger tiles or larger tensors. `minStorageBufferOffsetAlignment` is better the smaller it is. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxTextureDimension2D',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxComputeWorkgroupSizeZ',
  'maxComputeWorkgroupsPerDimension',
  'minStorageBufferOffsetAlignment',
] as const

/** Features that kernels use where they are present. None is required: f16 tensors need `shader-f16`, profiles need `timestamp-query`. */
const FEATURES: readonly string[] = ['shader-f16', 'subgroups', 'timestamp-query', 'chromium-experimental-subgroup-matrix']

/**
 * What to ask an adapter for when the GPUDevice is made by the caller: every feature and limit that the kernels can use and the adapter has.
 *
 * ```text
 * const device = await adapter.requestDevice(webgpuDeviceRequirements(adapter))
 * const backend = await createWebGPUBackend({ device })
 * ```
 */
export function webgpuDeviceRequirements(adapter: GPUAdapter): {
  requiredFeatures: GPUFeatureName[]
  requiredLimits: Record<string, number>
} {
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[]
  const requiredLimits: Record<string, number> = {}
  for (const name of LIMITS) {
    const value = adapter.limits[name]
    if (typeof value === 'number') requiredLimits[name] = value
  }
  return { requiredFeatures, requiredLimits }
}
