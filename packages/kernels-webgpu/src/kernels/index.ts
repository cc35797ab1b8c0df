import type { Kernels } from '@tilegrad/tensor'
import type { KernelContext } from '../kernel-context'
import type { Shader } from '../shader'
import { adamw, adamwKernels } from './adamw'
import { attentionKernels, attentionShaders } from './attention'
import { cast, castKernels } from './cast'
import { copy, copyKernels } from './copy'
import { crossEntropy, crossEntropyKernels } from './cross-entropy'
import { elementwise, elementwiseKernels } from './elementwise'
import { embedding, embeddingKernels } from './embedding'
import { fmaPeak } from './fma-peak'
import { gelu, geluKernels } from './gelu'
import { layerNorm, layerNormKernels } from './layer-norm'
import { linearCrossEntropyKernels } from './linear-cross-entropy'
import { matmul, matmulBySubgroups, matmulKernels } from './matmul'
import { matmulByEmulatedMatrix, matmulBySubgroupMatrix } from './matmul-subgroup-matrix'
import { rmsNorm, rmsNormKernels } from './rms-norm'
import { rope, ropeKernels } from './rope'
import { softmax, softmaxKernels } from './softmax'
import { sumRowsKernels, sumRowsShader } from './sum-rows'
import { sumSquares, sumSquaresKernels } from './sum-squares'
import { swiglu, swigluKernels } from './swiglu'

/** Every shader, for the test that compiles all variants of each. */
export const shaders: readonly Shader[] = [
  ...attentionShaders,
  adamw,
  cast,
  copy,
  crossEntropy,
  elementwise,
  embedding,
  fmaPeak,
  gelu,
  layerNorm,
  matmul,
  matmulByEmulatedMatrix,
  matmulBySubgroupMatrix,
  matmulBySubgroups,
  rmsNorm,
  rope,
  softmax,
  sumRowsShader,
  sumSquares,
  swiglu,
]

/** Every kernel of the contract. */
export function createKernels(ctx: KernelContext): Kernels {
  return {
    ...attentionKernels(ctx),
    ...adamwKernels(ctx),
    ...castKernels(ctx),
    ...copyKernels(ctx),
    ...crossEntropyKernels(ctx),
    ...elementwiseKernels(ctx),
    ...embeddingKernels(ctx),
    ...geluKernels(ctx),
    ...layerNormKernels(ctx),
    ...linearCrossEntropyKernels(ctx),
    ...matmulKernels(ctx),
    ...rmsNormKernels(ctx),
    ...ropeKernels(ctx),
    ...softmaxKernels(ctx),
    ...sumRowsKernels(ctx),
    ...sumSquaresKernels(ctx),
    ...swigluKernels(ctx),
  }
}
