/** A peer that is not installed, or does not load here. */
export class PeerMissingError extends Error {
  override readonly name = 'PeerMissingError'
}

/** Peers are development dependencies, loaded where they are timed: without one, its rows say so and the others run. */
export async function load<Module>(specifier: string): Promise<Module> {
  try {
    return (await import(specifier)) as Module
  } catch (error) {
    throw new PeerMissingError(`${specifier} cannot be loaded: ${error instanceof Error ? error.message.split('\n', 1)[0] : error}`)
  }
}
