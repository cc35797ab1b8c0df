/**
 * Into how many parts the rows of a sum over rows are cut (native/column-sums-inl.h). A function of the shape alone, so that results do not depend
 * on the number of threads: about 64 rows each, and at most 64 parts, which bounds both the workspace and the error of merging.
 */
export function columnParts(rows: number): number {
  return Math.max(1, Math.min(64, Math.ceil(rows / 64)))
}
