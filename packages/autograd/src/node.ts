import type { Backend, DType } from '@tilegrad/tensor'
import type { BackwardContext } from './backward-context'
import { GradientSlot } from './gradient-slot'
import type { SavedTensor } from './saved-tensor'

/** Computes the gradients of an operation's inputs from that of its output. */
export type BackwardFunction = (context: BackwardContext) => void

/**
 * One recorded operation, and the slot where the gradient of its output is summed.
 * It is held by the variables that show its output and by the operations that read it. When the last of them lets go, its saved
 * tensors are freed, and so are those of operations that only it held.
 */
export class Node extends GradientSlot {
  private holders = 0
  private freed = false

  constructor(
    backend: Backend,
    op: string,
    shape: readonly number[],
    dtype: DType,
    /** Creation order, which is a topological order. */
    readonly id: number,
    private sources: readonly (GradientSlot | undefined)[],
    private saved: readonly SavedTensor[],
    private run: BackwardFunction | undefined,
  ) {
    super(backend, op, shape, dtype)
    for (const source of sources) if (source instanceof Node) source.retain()
  }

  /** The slots of what it was computed from; undefined for inputs without gradient. */
  get inputs(): readonly (GradientSlot | undefined)[] {
    return this.sources
  }

  /** Whether its saved tensors are gone. */
  get isFreed(): boolean {
    return this.freed
  }

  /** @throws SavedTensorModifiedError if a saved tensor was written to. */
  checkSaved(): void {
    for (const saved of this.saved) saved.check(this.label)
  }

  /** Gives the inputs their gradients. Only before free(). */
  backward(context: BackwardContext): void {
    this.run?.(context)
  }

  retain(): void {
    this.holders++
  }

  /** Lets go once; the last one frees. A loop and not a recursion: graphs are thousands of operations deep. */
  drop(): void {
    const dropped: Node[] = [this]
    for (let node = dropped.pop(); node; node = dropped.pop()) {
      node.holders--
      if (node.holders === 0) dropped.push(...node.detach())
    }
  }

  /** Frees the saved tensors and lets go of the inputs; backward cannot run through it again. */
  free(): void {
    for (const source of this.detach()) source.drop()
  }

  private detach(): Node[] {
    if (this.freed) return []
    this.freed = true
    this.releaseGradient()
    for (const saved of this.saved) saved.release()
    const sources = this.sources.filter((source): source is Node => source instanceof Node)
    this.saved = []
    this.sources = []
    this.run = undefined
    return sources
  }
}
