import { createCpuBackend } from '@tilegrad/kernels-cpu'
import { attentionFlops } from '../flops'
import { type AttentionJob, backendOptions, runtimeOf } from '../job'
import { processMemory, resetPeakMemory } from '../memory'
import type { Measurement } from '../results'
import { time } from '../timing'
import { checkAttention } from './check'
import { jaxRunner } from './peers/jax'
import { onnxRunner } from './peers/onnx'
import { tfjsRunner } from './peers/tfjs'
import { type AttentionInputs, type AttentionRunner, type AttentionShape, keyHeads, randomInputs } from './problem'
import { tilegradRunner } from './tilegrad'

/** Times one contender on one shape in this process and checks what it timed. */
export async function measureAttention(job: AttentionJob): Promise<Measurement> {
  const { shape, pass, threads, samples, until } = job
  const inputs = randomInputs(shape)
  const runner = await open(job, inputs)
  resetPeakMemory()
  const before = processMemory().bytes
  const timing = await time({ call: () => runner.call(), sync: () => runner.sync() }, { samples, threads, until })
  const memory = { processBytes: Math.max(0, processMemory().peakBytes - before), tensorBytes: runner.peakTensorBytes() }
  const checks = checkAttention(inputs, await runner.result(), shape, job.cacheFolder)
  await runner.close()
  // One query row has no tile to reuse keys for: it is bound by reading them.
  const bytes = shape.seqlenQ === 1 ? compulsoryBytes(shape) : null
  const flops = until === 'done' ? attentionFlops(pass, shape) : null
  return { device: runner.device, flops, bytes, checks, timing, memory }
}

async function open({ contender, shape, pass, threads }: AttentionJob, inputs: AttentionInputs): Promise<AttentionRunner> {
  const backward = pass === 'forward+backward'
  switch (contender) {
    case 'ort-node-mha':
      return onnxRunner('node', 'MultiHeadAttention', inputs, shape, threads)
    case 'ort-node-gqa':
      return onnxRunner('node', 'GroupQueryAttention', inputs, shape, threads)
    case 'ort-web-mha':
      return onnxRunner('web', 'MultiHeadAttention', inputs, shape, threads)
    case 'jax-js':
      return jaxRunner(inputs, shape, backward, threads)
    case 'tfjs':
      return tfjsRunner(inputs, shape, threads)
    default: {
      const backend = await createCpuBackend(backendOptions(runtimeOf(contender), threads))
      return tilegradRunner(backend, contender.startsWith('standard') ? 'standard' : 'flash', inputs, shape, backward)
    }
  }
}

function compulsoryBytes(shape: AttentionShape): number {
  const { batchSize, seqlenQ, seqlenK, nHeads, headDim } = shape
  return 4 * batchSize * headDim * (2 * seqlenQ * nHeads + 2 * seqlenK * keyHeads(shape))
}
