import type { AttentionForwardResult, AttentionOptions, Backend, BlockMask, Kernels, Tensor } from '@tilegrad/tensor'
import { bitMasks } from '../random-mask'
import { withOptions } from './attention.testing'
import { elements, type Mutation, type Mutations, using } from './mutant.testing'

/** A tensor option in another form, forward and backward. */
function withTensor(
  name: 'alibiSlopes' | 'bias' | 'sink',
  change: (data: Float32Array, shape: readonly number[], options: AttentionOptions, headDim: number) => Float32Array,
): Mutation {
  return (right, backend) => {
    const changed = <T>(options: AttentionOptions, headDim: number, then: (options: AttentionOptions) => T): T => {
      const given = options[name]
      if (!given) return then(options)
      const data = change(elements(right, given), given.shape, options, headDim)
      return using(backend.tensor(data, given.shape), (tensor) => then({ ...options, [name]: tensor }))
    }
    return {
      attentionForward: (q, k, v, options = {}) =>
        changed(options, q.shape.at(-1) as number, (wrong) => right.attentionForward(q, k, v, wrong)),
      attentionBackward: (dout, q, k, v, out, lse, options = {}) =>
        changed(options, q.shape.at(-1) as number, (wrong) => right.attentionBackward(dout, q, k, v, out, lse, wrong)),
    }
  }
}

/** The gradient of an option times `factor`. */
const withGradient =
  (name: 'dalibiSlopes' | 'dbias' | 'dsink', factor: number): Mutation =>
  (right) => ({
    attentionBackward: (...args) => {
      const result = right.attentionBackward(...args)
      if (result[name]) right.scale(result[name], factor, { out: result[name] })
      return result
    },
  })

/** The forward pass with another mask; with `'backward'` the backward pass. */
const withMask =
  (pass: 'forward' | 'backward', change: (mask: BlockMask) => BlockMask): Mutation =>
  (right) => {
    const changed = <O extends AttentionOptions>(options: O): O =>
      options.blockMask ? { ...options, blockMask: change(options.blockMask) } : options
    return pass === 'forward'
      ? { attentionForward: (q, k, v, options = {}) => right.attentionForward(q, k, v, changed(options)) }
      : {
          attentionBackward: (dout, q, k, v, out, lse, options = {}) => right.attentionBackward(dout, q, k, v, out, lse, changed(options)),
        }
  }

/** Slopes times |i − j| as a bias, as if the diagonal began at the top left. */
function topLeftAlibi(
  right: Kernels,
  backend: Backend,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): AttentionForwardResult {
  const { alibiSlopes, ...rest } = options
  if (!alibiSlopes || rest.bias || rest.cuSeqlensQ) return right.attentionForward(q, k, v, options)
  const [batchSize, seqlenQ, nHeads] = q.shape as [number, number, number]
  const seqlenK = k.shape[1] as number
  const slopes = elements(right, alibiSlopes)
  const data = Float32Array.from({ length: batchSize * nHeads * seqlenQ * seqlenK }, (_, at) => {
    const [row, j] = [Math.floor(at / seqlenK), at % seqlenK]
    return -(slopes[Math.floor(row / seqlenQ) % slopes.length] as number) * Math.abs((row % seqlenQ) - j)
  })
  const bias = backend.tensor(data, [batchSize, nHeads, seqlenQ, seqlenK])
  return using(bias, () => right.attentionForward(q, k, v, { ...rest, bias }))
}

/** Rows of x [rows, …] or [B, rows, …] moved by one along `axis`: the first comes last. */
function rolled<T>(right: Kernels, x: Tensor, axis: number, by: 1 | -1, then: (x: Tensor) => T): T {
  const length = x.shape[axis] as number
  const copy = right.copy(x)
  if (length > 1) {
    const range = (begin: number, end: number) =>
      [x.shape.map((_, a) => (a === axis ? begin : 0)), x.shape.map((size, a) => (a === axis ? end : size))] as const
    const move = (from: readonly [number, number], to: readonly [number, number]) =>
      using(x.slice(...range(...from)), (source) => using(copy.slice(...range(...to)), (out) => right.copy(source, { out })))
    const last = length - 1
    if (by === 1) {
      move([1, length], [0, last])
      move([0, 1], [last, length])
    } else {
      move([0, last], [1, length])
      move([last, length], [0, 1])
    }
  }
  const result = then(copy)
  copy.dispose()
  return result
}

/** The mask of key j + 1 for key j in the backward pass: keys and values are moved, and their gradients are moved back. */
const shiftedDropout: Mutation = (right) => ({
  attentionBackward: (dout, q, k, v, out, lse, options = {}) => {
    const others = Object.keys(options).some((name) => !['dropoutP', 'seed', 'softmaxScale', 'softcap'].includes(name))
    if (!options.dropoutP || others) return right.attentionBackward(dout, q, k, v, out, lse, options)
    const result = rolled(right, k, 1, 1, (keys) =>
      rolled(right, v, 1, 1, (values) => right.attentionBackward(dout, q, keys, values, out, lse, options)),
    )
    for (const gradient of [result.dk, result.dv]) rolled(right, gradient, 1, -1, (back) => right.copy(back, { out: gradient }))
    return result
  },
})

/** Each batch entry as if it were the first. */
const dropoutOfFirstBatch: Mutation = (right) => ({
  attentionForward: (q, k, v, options = {}) => {
    const result = right.attentionForward(q, k, v, options)
    if (!options.dropoutP || options.cuSeqlensQ) return result
    for (let b = 0; b < (q.shape[0] as number); b++) {
      const [of, ofK, ofV] = [q, k, v].map((x) => x.slice([b], [b + 1])) as [Tensor, Tensor, Tensor]
      const entry = right.attentionForward(of, ofK, ofV, options)
      using(result.out.slice([b], [b + 1]), (out) => right.copy(entry.out, { out }))
      for (const tensor of [of, ofK, ofV, entry.out, entry.lse]) tensor.dispose()
    }
    return result
  },
})

/** dbias where it is broadcast over batch entries and heads: what the last of them gives, instead of the sum. */
const unreducedBias: Mutation = (right) => ({
  attentionBackward: (dout, q, k, v, out, lse, options = {}) => {
    const result = right.attentionBackward(dout, q, k, v, out, lse, options)
    const { bias } = options
    const broadcast = bias && [1, 1, ...bias.shape].slice(-4, -2).every((size) => size === 1)
    if (!result.dbias || !broadcast) return result
    const only = right.scale(dout, 0)
    const [batchSize, seqlenQ, nHeads] = dout.shape as [number, number, number]
    const last = [
      [batchSize - 1, 0, nHeads - 1],
      [batchSize, seqlenQ, nHeads],
    ] as const
    using(dout.slice(...last), (from) => using(only.slice(...last), (to) => right.copy(from, { out: to })))
    const wrong = right.attentionBackward(only, q, k, v, out, lse, { ...options, optionGradients: ['bias'] })
    right.copy(wrong.dbias as Tensor, { out: result.dbias })
    for (const tensor of [only, wrong.dq, wrong.dk, wrong.dv, wrong.dbias as Tensor]) tensor.dispose()
    return result
  },
})

/** lse or gradients in place, by elements. */
function rewrite(right: Kernels, backend: Backend, x: Tensor, change: (data: Float32Array) => Float32Array): void {
  using(backend.tensor(change(elements(right, x)), x.shape), (changed) => right.copy(changed, { out: x }))
}

/** Sequences of keys in another order: each reads the next one's, and its values. */
function keysOfNextSequence(right: Kernels, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): AttentionForwardResult {
  const { cuSeqlensK } = options
  if (!cuSeqlensK || cuSeqlensK.length < 3) return right.attentionForward(q, k, v, options)
  const first = cuSeqlensK[1] as number
  const total = cuSeqlensK.at(-1) as number
  const moved = (x: Tensor) => {
    const copy = right.copy(x)
    const move = (from: number, end: number, to: number) =>
      using(x.slice([from], [end]), (source) => using(copy.slice([to], [to + end - from]), (out) => right.copy(source, { out })))
    move(first, total, 0)
    move(0, first, total - first)
    return copy
  }
  const rest = [...cuSeqlensK.slice(1)].map((offset) => offset - first)
  return using(moved(k), (keys) =>
    using(moved(v), (values) => right.attentionForward(q, keys, values, { ...options, cuSeqlensK: Int32Array.of(...rest, total) })),
  )
}

/** Each interior offset one row later, where the next one allows. */
function oneLate(offsets: Int32Array): Int32Array {
  return offsets.map((offset, b) => (b > 0 && b < offsets.length - 1 && offset < (offsets[b + 1] as number) ? offset + 1 : offset))
}

function transposedBits(mask: BlockMask): BlockMask {
  const { blockM, blockN, bits } = mask
  if (blockM !== blockN) return mask
  const words = blockN / 32
  const sees = (of: number, i: number, j: number) => (((bits[(of * blockM + i) * words + (j >>> 5)] as number) >>> (j & 31)) & 1) === 1
  return { ...mask, bits: bitMasks(blockM, blockN, bits.length / (blockM * words), (of, i, j) => sees(of, j, i)) }
}

/** Tiles of a mask, as [row of query blocks, key block, bits]. */
function tilesOf({ kvOffsets, kvBlocks, kvBits }: BlockMask): [row: number, nBlock: number, bits: number][] {
  return [...kvOffsets.slice(0, -1)].flatMap((begin, row) =>
    [...kvBlocks.slice(begin, kvOffsets[row + 1])].map((nBlock, t): [number, number, number] => [row, nBlock, kvBits[begin + t] as number]),
  )
}

/** A sound mask of other tiles. */
function withTiles(mask: BlockMask, tiles: readonly (readonly [row: number, nBlock: number, bits: number])[]): BlockMask {
  const nMBlocks = Math.ceil(mask.seqlenQ / mask.blockM)
  const nNBlocks = Math.ceil(mask.seqlenK / mask.blockN)
  const heads = mask.batchSize * mask.nHeads
  const columns = tiles
    .map(([row, nBlock, bits]): [number, number, number] => [Math.floor(row / nMBlocks) * nNBlocks + nBlock, row % nMBlocks, bits])
    .sort(([a, i], [b, j]) => a - b || i - j)
  const rows = (entries: readonly (readonly [number, number, number])[], count: number) => ({
    offsets: Int32Array.from({ length: count + 1 }, (_, row) => entries.filter(([of]) => of < row).length),
    blocks: Int32Array.from(entries, ([, block]) => block),
    bits: Int32Array.from(entries, ([, , bits]) => bits),
  })
  const kv = rows(tiles, heads * nMBlocks)
  const q = rows(columns, heads * nNBlocks)
  return {
    ...mask,
    ...{ kvOffsets: kv.offsets, kvBlocks: kv.blocks, kvBits: kv.bits, qOffsets: q.offsets, qBlocks: q.blocks, qBits: q.bits },
  }
}

/** Without the last tile of each row of two tiles and more. */
function lastTileSkipped(mask: BlockMask): BlockMask {
  const tiles = tilesOf(mask)
  return withTiles(
    mask,
    tiles.filter(([row], t) => tiles[t - 1]?.[0] !== row || tiles[t + 1]?.[0] === row),
  )
}

const partialTakenForFull = (mask: BlockMask) =>
  withTiles(
    mask,
    tilesOf(mask).map(([row, nBlock]) => [row, nBlock, -1]),
  )

/** The mask of the first head for every head. */
function firstHead(mask: BlockMask): BlockMask {
  const nMBlocks = Math.ceil(mask.seqlenQ / mask.blockM)
  const own = tilesOf(mask)
  const all = Array.from({ length: mask.batchSize * mask.nHeads }, (_, head) => {
    const from = head - (head % mask.nHeads)
    return own
      .filter(([row]) => Math.floor(row / nMBlocks) === from)
      .map(([row, nBlock, bits]): [number, number, number] => [(row % nMBlocks) + head * nMBlocks, nBlock, bits])
  })
  return withTiles(mask, all.flat())
}

/** ALiBi, bias, sink, dropout, packed sequences, block masks and inspection, wrong in one way each. */
export const ATTENTION_OPTION_MUTATIONS: Mutations = {
  'ALiBi added instead of subtracted': {
    group: 'attention ALiBi',
    mutate: withTensor('alibiSlopes', (data) => data.map((slope) => -slope)),
  },
  'ALiBi by distances from the top left': {
    group: 'attention ALiBi',
    mutate: (right, backend) => ({ attentionForward: (q, k, v, options = {}) => topLeftAlibi(right, backend, q, k, v, options) }),
  },
  'ALiBi with the slopes of the next batch entry': {
    group: 'attention ALiBi',
    mutate: withTensor('alibiSlopes', (data, shape) => {
      const nHeads = shape.at(-1) as number
      return shape.length === 1 ? data : data.map((_, at) => data[(at + nHeads) % data.length] as number)
    }),
  },
  'gradient of slopes with the wrong sign': { group: 'attention ALiBi', mutate: withGradient('dalibiSlopes', -1) },
  'gradient of slopes 0.1 % off': { group: 'attention ALiBi', mutate: withGradient('dalibiSlopes', 1.001) },
  'bias scaled like q·k': {
    group: 'attention bias',
    mutate: withTensor('bias', (data, _, { softmaxScale }, headDim) => data.map((value) => value * (softmaxScale ?? headDim ** -0.5))),
  },
  'bias of −∞ taken for −10⁴': {
    group: 'attention bias',
    mutate: withTensor('bias', (data) => data.map((value) => Math.max(value, -1e4))),
  },
  'dbias of the last batch entry and head, not summed over all': { group: 'attention bias', mutate: unreducedBias },
  'dbias 0.1 % off': { group: 'attention bias', mutate: withGradient('dbias', 1.001) },
  'gradients of options that were not asked for': {
    group: 'attention bias',
    says: /among the results/,
    mutate: (right) => ({
      attentionBackward: (dout, q, k, v, out, lse, { optionGradients: _, ...options } = {}) =>
        right.attentionBackward(dout, q, k, v, out, lse, options),
    }),
  },
  'sink missing from lse': {
    group: 'attention sink',
    mutate: (right) => ({
      attentionForward: (q, k, v, options = {}) => {
        const result = right.attentionForward(q, k, v, options)
        if (!options.sink) return result
        const { sink: _, ...rest } = options
        const plain = right.attentionForward(q, k, v, rest)
        result.lse.dispose()
        plain.out.dispose()
        return { out: result.out, lse: plain.lse }
      },
    }),
  },
  'sink counted once per split of the keys': {
    group: 'attention sink',
    mutate: withTensor('sink', (data) => data.map((value) => value + Math.LN2)),
  },
  'dsink 0.1 % off': { group: 'attention sink', mutate: withGradient('dsink', 1.001) },
  'dsink without the share of the last batch entry': {
    group: 'attention sink',
    mutate: (right) => ({
      attentionBackward: (dout, q, k, v, out, lse, options = {}) => {
        const result = right.attentionBackward(dout, q, k, v, out, lse, options)
        if (!result.dsink || options.cuSeqlensQ || (dout.shape[0] as number) < 2) return result
        const fewer = right.copy(dout)
        const last = dout.shape[0] as number
        using(fewer.slice([last - 1], [last]), (entry) => using(right.scale(entry, 0), (zero) => right.copy(zero, { out: entry })))
        const wrong = right.attentionBackward(fewer, q, k, v, out, lse, { ...options, optionGradients: ['sink'] })
        right.copy(wrong.dsink as Tensor, { out: result.dsink })
        for (const tensor of [fewer, wrong.dq, wrong.dk, wrong.dv, wrong.dsink as Tensor]) tensor.dispose()
        return result
      },
    }),
  },
  'dropout mask shifted by one key in the backward pass': { group: 'attention dropout', says: /kept|exceeds/, mutate: shiftedDropout },
  'dropout without 1/(1 − dropoutP)': {
    group: 'attention dropout',
    says: /kept|exceeds/,
    mutate: (right) => ({
      attentionForward: (q, k, v, options = {}) => {
        const result = right.attentionForward(q, k, v, options)
        right.scale(result.out, 1 - (options.dropoutP ?? 0), { out: result.out })
        return result
      },
    }),
  },
  'dropout counts heads without their batch entry': { group: 'attention dropout', says: /kept|exceeds/, mutate: dropoutOfFirstBatch },
  'dropout seed cut to 32 bits': {
    group: 'attention dropout',
    says: /kept|exceeds/,
    mutate: withOptions(({ seed, ...options }) => ({ ...options, ...(seed !== undefined && { seed: seed % 2 ** 32 }) })),
  },
  'packed sequences read the keys of the next one': {
    group: 'attention varlen',
    mutate: (right) => ({ attentionForward: (q, k, v, options = {}) => keysOfNextSequence(right, q, k, v, options) }),
  },
  'packed sequences begin one key late': {
    group: 'attention varlen',
    mutate: withOptions(({ cuSeqlensK, ...options }) => ({ ...options, ...(cuSeqlensK && { cuSeqlensK: oneLate(cuSeqlensK) }) })),
  },
  'packed sequences end one query late': {
    group: 'attention varlen',
    mutate: withOptions(({ cuSeqlensQ, ...options }) => ({ ...options, ...(cuSeqlensQ && { cuSeqlensQ: oneLate(cuSeqlensQ) }) })),
  },
  'bits of partial tiles transposed': { group: 'attention block mask', mutate: withMask('forward', transposedBits) },
  'partial tiles taken for full ones': { group: 'attention block mask', mutate: withMask('forward', partialTakenForFull) },
  'last tile of a row skipped in the forward pass': { group: 'attention block mask', mutate: withMask('forward', lastTileSkipped) },
  'last tile of a row skipped in the backward pass': { group: 'attention block mask', mutate: withMask('backward', lastTileSkipped) },
  'mask of the first head for every head': { group: 'attention block mask', mutate: withMask('forward', firstHead) },
  'no causality where there is a block mask': {
    group: 'attention block mask',
    mutate: withOptions((options) => (options.blockMask && options.causal ? { ...options, causal: false } : options)),
  },
  'no window in packed batches': {
    group: 'attention pairs',
    mutate: withOptions(({ windowSize, ...options }) => (windowSize && !options.cuSeqlensQ ? { ...options, windowSize } : options)),
  },
  'no softcap where there is ALiBi': {
    group: 'attention pairs',
    mutate: withOptions(({ softcap, ...options }) => (softcap && !options.alibiSlopes ? { ...options, softcap } : options)),
  },
  'no dropout where there is a bias': {
    group: 'attention pairs',
    mutate: withOptions(({ dropoutP, ...options }) => (dropoutP && !options.bias ? { ...options, dropoutP } : options)),
  },
  'rows of the row before': {
    group: 'attention inspection',
    mutate: (right) => ({
      attentionRows: (q, k, lse, rows, options) =>
        right.attentionRows(
          q,
          k,
          lse,
          Array.from(rows, (row) => Math.max(0, row - 1)),
          options,
        ),
    }),
  },
  'column sums without the last row': {
    group: 'attention inspection',
    mutate: (right, backend) => ({
      attentionColumnSums: (q, k, lse, options) => {
        const sums = right.attentionColumnSums(q, k, lse, options)
        const last = (q.shape[1] as number) - 1
        if (last < 0) return sums
        using(right.attentionRows(q, k, lse, [last], options), (row) => {
          const share = elements(right, row)
          rewrite(right, backend, sums, (data) => data.map((sum, at) => sum - (share[at] as number)))
        })
        return sums
      },
    }),
  },
  'of equal keys the higher index first': {
    group: 'attention inspection',
    mutate: (right, backend) => ({
      attentionTopK: (q, k, lse, topK, options) => {
        const result = right.attentionTopK(q, k, lse, topK, options)
        const p = elements(right, result.probabilities)
        const indices = Int32Array.from(elements(right, result.indices))
        for (let at = 1; at < p.length; at++) {
          const equal = at % topK > 0 && p[at] === p[at - 1] && (p[at] as number) > 0
          if (equal) [indices[at - 1], indices[at]] = [indices[at] as number, indices[at - 1] as number]
        }
        result.indices.dispose()
        return { probabilities: result.probabilities, indices: backend.tensor(indices, result.probabilities.shape) }
      },
    }),
  },
  'a whole score matrix in memory': {
    group: 'attention memory',
    says: /bytes more/,
    mutate: (right, backend) => ({
      attentionForward: (q, k, v, options) => {
        backend.zeros([q.shape.at(-3) as number, k.shape.at(-3) as number]).dispose()
        return right.attentionForward(q, k, v, options)
      },
    }),
  },
}
