import { StridedTensor } from '@tilegrad/tensor'
import type { WebGPUStorage } from './storage'

/** A tensor in a GPU buffer. */
export class WebGPUTensor extends StridedTensor<WebGPUStorage> {
  /**
   * The buffer that holds the elements, from byte `byteOffset` on, without a copy. Work of this backend is in it once
   * `backend.flush()` has resolved; the buffer is the backend's again when the tensor is disposed.
   */
  get gpuBuffer(): GPUBuffer {
    return this.storage.block.buffer
  }

  override reshape(shape: readonly number[]): WebGPUTensor {
    return handOver(super.reshape(shape))
  }

  override permute(axes: readonly number[]): WebGPUTensor {
    return handOver(super.permute(axes))
  }

  override slice(start: readonly number[], end: readonly number[]): WebGPUTensor {
    return handOver(super.slice(start, end))
  }
}

/** The same view as a WebGPUTensor. */
function handOver(view: StridedTensor<WebGPUStorage>): WebGPUTensor {
  const { backend, storage, shape, dtype, strides, offset } = view
  storage.retain()
  const tensor = new WebGPUTensor(backend, storage, shape, dtype, strides, offset)
  view.dispose()
  return tensor
}
