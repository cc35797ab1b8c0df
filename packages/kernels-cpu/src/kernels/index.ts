import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import { adamwKernels } from './adamw'
import { attentionKernels } from './attention'
import { attentionInspectionKernels } from './attention-inspection'
import { castKernels } from './cast'
import { copyKernels } from './copy'
import { crossEntropyKernels } from './cross-entropy'
import { elementwiseKernels } from './elementwise'
import { embeddingKernels } from './embedding'
import { geluKernels } from './gelu'
import { gemmKernels } from './gemm'
import { layerNormKernels } from './layer-norm'
import { linearCrossEntropyKernels } from './linear-cross-entropy'
import { rmsNormKernels } from './rms-norm'
import { ropeKernels } from './rope'
import { softmaxKernels } from './softmax'
import { sumRowsKernels } from './sum-rows'
import { sumSquaresKernels } from './sum-squares'
import { swigluKernels } from './swiglu'

/** All kernels of the backend, family by family. */
export function createKernels(ctx: KernelContext): Kernels {
  return {
    ...attentionKernels(ctx),
    ...attentionInspectionKernels(ctx),
    ...gemmKernels(ctx),
    ...sumRowsKernels(ctx),
    ...layerNormKernels(ctx),
    ...rmsNormKernels(ctx),
    ...softmaxKernels(ctx),
    ...geluKernels(ctx),
    ...swigluKernels(ctx),
    ...embeddingKernels(ctx),
    ...ropeKernels(ctx),
    ...crossEntropyKernels(ctx),
    ...linearCrossEntropyKernels(ctx),
    ...elementwiseKernels(ctx),
    ...castKernels(ctx),
    ...copyKernels(ctx),
    ...adamwKernels(ctx),
    ...sumSquaresKernels(ctx),
  }
}
