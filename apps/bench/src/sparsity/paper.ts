/**
 * Milliseconds and MB of FlashAttention (arXiv 2205.14135, tables 9 to 11, 20 and 21: A100-40GB, B 16, H 8, D 64, fp16, dropout and padding mask) at N 128, 256 … 65536,
 * as far as each went.
 */
const firstSeqlen = 128

export const paperForward = {
  flash: [0.04, 0.06, 0.21, 0.82, 2.85, 10.41, 41.74, 167.19, 670.76, 2682.35],
  'block-sparse flash': [0.06, 0.06, 0.06, 0.12, 0.44, 0.86, 1.7, 3.29, 6.55, 13.34],
} as const

export const paperForwardBackward = {
  standard: [0.84, 0.86, 2.35, 8.29, 31.75, 124.19],
  Linformer: [1.57, 1.49, 1.55, 1.6, 4.19, 8.04, 15.71, 30.92, 61.47],
  Longformer: [2.47, 2.49, 2.51, 3.1, 10.39, 22.49, 60.44],
  BigBird: [2.51, 2.49, 2.52, 3.4, 10.97, 23.89, 63.28],
  flash: [0.43, 0.41, 0.95, 2.55, 9.56, 37.49, 147.75, 586.61, 2339.11, 9341.3],
  'block-sparse flash': [0.44, 0.44, 0.45, 0.89, 1.95, 4.12, 7.64, 16.6, 32.73, 64.11],
} as const

export const paperMemory = {
  standard: [36, 104, 336, 1184, 4416, 17024],
  Linformer: [25, 52, 114, 287, 832, 1652, 3292, 6572, 13132, 26252],
  flash: [22, 44, 104, 209, 418, 836, 1672, 3344, 6688, 13376],
} as const

/** Of the paper's line at one N, if it has one. */
export function paperValue(lines: Readonly<Record<string, readonly number[]>>, line: string, seqlen: number): number | undefined {
  return lines[line]?.[Math.log2(seqlen / firstSeqlen)]
}
