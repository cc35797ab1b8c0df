import type { Storage, TypedArray } from '@tilegrad/tensor'

/** A typed array with a reference count. */
export class ReferenceStorage implements Storage {
  version = 0
  readonly bytes: number
  private references = 1

  /** `freed` is called once, when the last reference goes. */
  constructor(
    public data: TypedArray,
    private readonly freed: (storage: ReferenceStorage) => void,
  ) {
    this.bytes = data.byteLength
  }

  retain(): void {
    this.references++
  }

  release(): void {
    this.references--
    if (this.references === 0) this.free()
  }

  /** Lets go of the elements whatever the count says. */
  free(): void {
    this.references = 0
    this.data = this.data.subarray(0, 0)
    this.freed(this)
  }
}
