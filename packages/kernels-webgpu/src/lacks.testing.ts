/** Groups of the conformance suite of which the kernels do not have everything yet; the suite says when one can go. */
export const LACKS: readonly string[] = []
