import type { Kernels } from '@tilegrad/tensor'
import { attentionKernels } from './attention'
import { attentionInspectionKernels } from './attention-inspection'
import { crossEntropyKernels } from './cross-entropy'
import { embeddingKernels } from './embedding'
import { layerNormKernels } from './layer-norm'
import { matmulKernels } from './matmul'
import { optimizerKernels } from './optimizer'
import { pointwiseKernels } from './pointwise'
import type { Reference } from './reference'
import { rmsNormKernels } from './rms-norm'
import { ropeKernels } from './rope'
import { softmaxKernels } from './softmax'

export function createKernels(ref: Reference): Kernels {
  return {
    ...attentionKernels(ref),
    ...attentionInspectionKernels(ref),
    ...matmulKernels(ref),
    ...layerNormKernels(ref),
    ...rmsNormKernels(ref),
    ...softmaxKernels(ref),
    ...pointwiseKernels(ref),
    ...embeddingKernels(ref),
    ...ropeKernels(ref),
    ...crossEntropyKernels(ref),
    ...optimizerKernels(ref),
  }
}
