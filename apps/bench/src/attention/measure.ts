import { join } from 'node:path'
import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { attentionFlops } from '../flops'
import { type AttentionJob, type BackendName, backendOptions } from '../job'
import { allThreads } from '../machine'
import { processMemory, resetPeakMemory } from '../memory'
import type { Measurement } from '../results'
import { time } from '../timing'
import { isWebGPUVariant, matrixUnits, openWebGPU, typeOf } from '../webgpu/backend'
import { checkAttention } from './check'
import { jaxRunner, jaxWebGPURunner } from './peers/jax'
import { onnxRunner, onnxWebGPURunner } from './peers/onnx'
import { tfjsRunner } from './peers/tfjs'
import { type AttentionInputs, type AttentionRunner, type AttentionShape, keyHeads, randomInputs, roundTo } from './problem'
import { tilegradRunner } from './tilegrad'

/** Times one contender on one shape in this process and checks what it timed. */
export async function measureAttention(job: AttentionJob): Promise<Measurement> {
  const { contender, shape, pass, samples, until, cacheFolder } = job
  const type = typeOf(contender)
  const { q, k, v, dout } = randomInputs(shape)
  const inputs = { q: roundTo(type, q), k: roundTo(type, k), v: roundTo(type, v), dout: roundTo(type, dout) }
  // A device in software has all threads of the machine; none of a GPU's is anybody else's.
  const threads = job.threads || allThreads
  const runner = await open(job, inputs)
  resetPeakMemory()
  const before = processMemory().bytes
  const timing = await time({ call: () => runner.call(), sync: () => runner.sync() }, { samples, threads, until })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: runner.peakTensorBytes() }
  const checks = checkAttention(inputs, await runner.result(), shape, type === 'f32' ? cacheFolder : join(cacheFolder, type), type)
  await runner.close()
  // One query row has no tile to reuse keys for: it is bound by reading them.
  const bytes = shape.seqlenQ === 1 ? compulsoryBytes(shape) : null
  const flops = until === 'done' ? attentionFlops(pass, shape) : null
  return { device: runner.device, flops, bytes, checks, timing, memory, ...(matrixUnits(contender) ? { beyondPeak: true } : {}) }
}

async function open({ contender, shape, pass, threads }: AttentionJob, inputs: AttentionInputs): Promise<AttentionRunner> {
  const backward = pass !== 'forward'
  switch (contender) {
    case 'ort-node-mha':
      return onnxRunner('node', 'MultiHeadAttention', inputs, shape, threads)
    case 'ort-node-gqa':
      return onnxRunner('node', 'GroupQueryAttention', inputs, shape, threads)
    case 'ort-web-mha':
      return onnxRunner('web', 'MultiHeadAttention', inputs, shape, threads)
    case 'jax-js':
      return jaxRunner(inputs, shape, backward, threads)
    case 'ort-webgpu-mha':
      return onnxWebGPURunner(inputs, shape)
    case 'jax-js-webgpu':
      return jaxWebGPURunner(inputs, shape, backward)
    case 'tfjs':
      return tfjsRunner(inputs, shape, threads)
    case 'standard-webgpu':
      return tilegradRunner(await openWebGPU('webgpu'), 'standard', inputs, shape, pass)
    default: {
      if (isWebGPUVariant(contender)) return tilegradRunner(await openWebGPU(contender), 'flash', inputs, shape, pass, typeOf(contender))
      const runtime = contender.replace(/^standard-/, '') as BackendName
      const backend = await createCpuBackend(backendOptions(runtime, threads))
      return tilegradRunner(backend, contender.startsWith('standard') ? 'standard' : 'flash', inputs, shape, pass)
    }
  }
}

function compulsoryBytes(shape: AttentionShape): number {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  return 4 * batchSize * headDim * (2 * seqlenQ * nHeads + 2 * seqlenK * keyHeads(shape))
}
