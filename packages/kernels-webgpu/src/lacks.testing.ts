/** Groups of the conformance suite of which the kernels do not have everything yet; the suite says when one can go. */
export const LACKS = ['misuse', 'attention bias', 'attention pairs', 'attention inspection', 'attention memory']
