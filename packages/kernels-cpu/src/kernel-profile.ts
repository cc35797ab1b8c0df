/** What calls of one kernel with arguments of one shape took and had to do, all calls together. */
export interface KernelProfile {
  /** A method of Kernels, or the engine's own name of work that no method asked for (`memory_zero`). */
  readonly kernel: string
  /** Sizes, and the options that change the work; empty for the engine's own. */
  readonly shape: string
  readonly calls: number
  /** Wall time on the executor. */
  readonly milliseconds: number
  /** See kernelWork and kernelBytes. */
  readonly flops: number
  readonly bytes: number
}

/** Calls of one kernel and shape so far. */
export interface ProfileEntry {
  readonly kernel: string
  readonly shape: string
  /** Where the engine adds up their time. */
  readonly slot: number
  calls: number
  flops: number
  bytes: number
}

/** Which of the engine's time slots belongs to which kernel and shape, and what its calls had to do. */
export class ProfileEntries {
  private readonly entries = new Map<string, ProfileEntry>()

  /** The first slots are those of the engine's own names, the last is for all that find no other free. */
  constructor(
    private readonly names: readonly string[],
    private readonly slots: number,
  ) {}

  entryOf(kernel: string, shape: string): ProfileEntry {
    const slot = Math.min(this.slots - 1, this.names.length + this.entries.size)
    const [name, details] = slot < this.slots - 1 ? [kernel, shape] : ['others', '']
    const key = keyOf(kernel, shape)
    const entry = this.entries.get(key) ?? this.entries.get(keyOf(name, details)) ?? { kernel: name, shape: details, slot, ...nothing }
    this.entries.set(keyOf(entry.kernel, entry.shape), entry)
    return entry
  }

  /** The longest first. `timeOf` gives what the engine measured in a slot. */
  profiles(timeOf: (slot: number) => { calls: number; milliseconds: number }): Map<string, KernelProfile> {
    const own = this.names.map((kernel, slot) => ({ ...nothing, kernel, shape: '', slot, calls: timeOf(slot).calls }))
    const all = [...own, ...this.entries.values()].map(({ slot, ...entry }) => ({ ...entry, milliseconds: timeOf(slot).milliseconds }))
    const used = all.filter(({ calls }) => calls > 0).sort((a, b) => b.milliseconds - a.milliseconds)
    return new Map(used.map((profile) => [keyOf(profile.kernel, profile.shape), profile]))
  }
}

const nothing = { calls: 0, flops: 0, bytes: 0 }

function keyOf(kernel: string, shape: string): string {
  return `${kernel} ${shape}`.trim()
}
