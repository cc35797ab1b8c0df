/** Why tests that need a WebGPU adapter in Node cannot run, where `npm test` found none (it says in TILEGRAD_WEBGPU what there is). Tests run by themselves try. */
export const noAdapter = process.env.TILEGRAD_WEBGPU === '' ? 'WebGPU finds no adapter: it needs a Vulkan driver' : undefined
