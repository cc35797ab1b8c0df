// ../tensor/src/errors/tilegrad-error.ts
var TilegradError = class extends Error {
  name = "TilegradError";
};

// ../tensor/src/errors/argument-error.ts
var ArgumentError = class extends TilegradError {
  name = "ArgumentError";
  constructor(fn, expected, got) {
    super(`${fn}: ${expected}, got ${got}`);
  }
};

// ../tensor/src/errors/backend-mismatch-error.ts
var BackendMismatchError = class extends TilegradError {
  name = "BackendMismatchError";
  constructor(fn, argument, expected, got) {
    super(`${fn}: ${argument} must be a tensor of this ${expected} backend, got one of another ${got} backend`);
  }
};

// ../tensor/src/errors/disposed-error.ts
var DisposedError = class extends TilegradError {
  name = "DisposedError";
  constructor(fn, what) {
    super(`${fn}: ${what} is disposed`);
  }
};

// ../tensor/src/errors/dtype-error.ts
var DTypeError = class extends TilegradError {
  name = "DTypeError";
  constructor(fn, expected, got) {
    super(`${fn}: ${expected}, got ${got}`);
  }
};

// ../tensor/src/errors/shape-error.ts
var ShapeError = class extends TilegradError {
  name = "ShapeError";
  constructor(fn, expected, got) {
    super(`${fn}: ${expected}, got ${got}`);
  }
};

// ../tensor/src/shape.ts
function numel(shape) {
  let n = 1;
  for (const s of shape) n *= s;
  return n;
}
function contiguousStrides(shape) {
  const strides = new Array(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}
function isContiguous(shape, strides) {
  if (shape.includes(0)) return true;
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const s = shape[i];
    if (s !== 1 && strides[i] !== step) return false;
    step *= s;
  }
  return true;
}
function shapesEqual(a, b) {
  return a.length === b.length && a.every((s, i) => s === b[i]);
}
function formatShape(shape) {
  return `[${shape.join(", ")}]`;
}

// ../tensor/src/tensor.ts
function isTensor(value) {
  if (typeof value !== "object" || value === null) return false;
  const t = value;
  return Array.isArray(t.shape) && Array.isArray(t.strides) && typeof t.dtype === "string" && typeof t.read === "function";
}

// ../tensor/src/check/common.ts
function rows(shape) {
  return numel(leadingAxes(shape));
}
function leadingAxes(shape) {
  return shape.slice(0, -1);
}
function checkTensors(fn, backend, tensors) {
  for (const [name, tensor] of Object.entries(tensors)) {
    if (!isTensor(tensor)) throw new ArgumentError(fn, `${name} must be a tensor`, describe(tensor));
    if (tensor.disposed) throw new DisposedError(fn, `${name} ${formatShape(tensor.shape)}`);
    if (tensor.backend !== backend) throw new BackendMismatchError(fn, name, backend.info.name, tensor.backend.info.name);
  }
}
function checkOptions(fn, options, names) {
  if (typeof options !== "object" || options === null || Array.isArray(options) || isTensor(options)) {
    throw new ArgumentError(fn, "options must be an object", describe(options));
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new ArgumentError(fn, names.length > 0 ? `options must be among ${names.join(", ")}` : "no options are taken", `'${name}'`);
    }
  }
}
function checkFloat(fn, name, { dtype }) {
  if (dtype === "i32") throw new DTypeError(fn, `${name} must be f32, f16 or bf16`, dtype);
}
function checkDType(fn, name, { dtype }, ...expected) {
  if (!expected.includes(dtype)) throw new DTypeError(fn, `${name} must be ${[...new Set(expected)].join(" or ")}`, dtype);
}
function checkShape(fn, name, { shape }, expected) {
  const fits2 = shape.length === expected.length && expected.every((size, i) => typeof size === "string" || size === shape[i]);
  if (!fits2) throw new ShapeError(fn, `${name} must be [${expected.join(", ")}]`, formatShape(shape));
}
function checkRank(fn, name, { shape }, rank, expected) {
  if (shape.length < rank) throw new ShapeError(fn, `${name} must be ${expected}`, formatShape(shape));
}
function checkLastAxis(fn, tensors) {
  for (const [name, { shape, strides }] of Object.entries(tensors)) {
    if (shape.length > 0 && shape.at(-1) > 1 && strides.at(-1) !== 1 && numel(shape) > 0) {
      throw new ShapeError(fn, `the last axis of ${name} must be contiguous (copy() it first)`, `strides ${formatShape(strides)}`);
    }
  }
}
function checkTarget(fn, name, tensor, backend, shape, ...dtypes) {
  if (tensor === void 0) return;
  checkTensors(fn, backend, { [name]: tensor });
  checkDType(fn, name, tensor, ...dtypes);
  if (!shapesEqual(tensor.shape, shape)) throw new ShapeError(fn, `${name} must be ${formatShape(shape)}`, formatShape(tensor.shape));
  if (!isContiguous(tensor.shape, tensor.strides)) {
    throw new ShapeError(fn, `${name} must be contiguous`, `strides ${formatShape(tensor.strides)} for shape ${formatShape(shape)}`);
  }
}
function checkFinite(fn, name, value) {
  if (!Number.isFinite(value)) throw new ArgumentError(fn, `${name} must be a finite number`, describe(value));
}
function checkAtLeast(fn, name, value, low) {
  if (!(Number.isFinite(value) && value >= low)) throw new ArgumentError(fn, `${name} must be a finite number \u2265 ${low}`, describe(value));
}
function checkInteger(fn, name, value, low = Number.MIN_SAFE_INTEGER) {
  if (!(Number.isSafeInteger(value) && value >= low)) {
    throw new ArgumentError(fn, `${name} must be an integer${low > Number.MIN_SAFE_INTEGER ? ` \u2265 ${low}` : ""}`, describe(value));
  }
}
function checkBoolean(fn, name, value) {
  if (typeof value !== "boolean") throw new ArgumentError(fn, `${name} must be true or false`, describe(value));
}
function checkChoice(fn, name, value, choices) {
  if (!choices.includes(value)) throw new ArgumentError(fn, `${name} must be ${choices.map((c) => `'${c}'`).join(" or ")}`, describe(value));
}
function describe(value) {
  if (typeof value === "string") return `'${value}'`;
  if (isTensor(value)) return `a tensor ${formatShape(value.shape)}`;
  if (Array.isArray(value)) return `[${value.map(String).join(", ")}]`;
  return typeof value === "object" && value !== null ? `a value of type ${value.constructor?.name ?? "object"}` : String(value);
}

// ../tensor/src/dtype.ts
var bytesPerElement = { f32: 4, f16: 2, bf16: 2, i32: 4 };

// ../tensor/src/check/elementwise.ts
function checkAdd(backend, a, b, options = {}) {
  return checkElementwise("add", backend, { a, b }, options);
}
function checkScale(backend, x, factor, options = {}) {
  checkFinite("scale", "factor", factor);
  return checkElementwise("scale", backend, { x }, options);
}
function checkCast(backend, x, dtype) {
  const fn = "cast";
  checkTensors(fn, backend, { x });
  checkFloat(fn, "x", x);
  if (!Object.hasOwn(bytesPerElement, dtype) || dtype === "i32") throw new DTypeError(fn, "dtype must be f32, f16 or bf16", String(dtype));
  checkLastAxis(fn, { x });
  return { elements: numel(x.shape), outShape: x.shape, dtype: x.dtype };
}
function checkCopy(backend, x, options = {}) {
  const fn = "copy";
  checkTensors(fn, backend, { x });
  checkOptions(fn, options, ["out"]);
  const { out } = options;
  if (out !== void 0) {
    checkTensors(fn, backend, { out });
    checkDType(fn, "out", out, x.dtype);
    if (!shapesEqual(out.shape, x.shape)) throw new ShapeError(fn, `out must be ${formatShape(x.shape)}`, formatShape(out.shape));
  }
  return { elements: numel(x.shape), outShape: x.shape, dtype: x.dtype };
}
function checkElementwise(fn, backend, inputs, options) {
  checkTensors(fn, backend, inputs);
  checkOptions(fn, options, ["out"]);
  const [[firstName, first], ...others] = Object.entries(inputs);
  checkFloat(fn, firstName, first);
  for (const [name, tensor] of others) {
    checkDType(fn, name, tensor, first.dtype);
    checkShape(fn, name, tensor, first.shape);
  }
  checkLastAxis(fn, inputs);
  checkTarget(fn, "out", options.out, backend, first.shape, first.dtype);
  return { elements: numel(first.shape), outShape: first.shape, dtype: first.dtype };
}

// ../tensor/src/check/activation.ts
function checkGeluForward(backend, x, options = {}) {
  return checkElementwise("geluForward", backend, { x }, options);
}
function checkGeluBackward(backend, dout, x, options = {}) {
  return checkElementwise("geluBackward", backend, { x, dout }, options);
}
function checkSwigluForward(backend, gate, up, options = {}) {
  return checkElementwise("swigluForward", backend, { gate, up }, options);
}
function checkSwigluBackward(backend, dout, gate, up, options = {}) {
  checkOptions("swigluBackward", options, []);
  return checkElementwise("swigluBackward", backend, { gate, up, dout }, {});
}

// ../tensor/src/check/attention-scores.ts
var SCORE_OPTIONS = [
  "softmaxScale",
  "softcap",
  "causal",
  "causalAlign",
  "windowSize",
  "alibiSlopes",
  "bias",
  "sink",
  "dropoutP",
  "seed"
];
function scoreProblem(fn, backend, options, sizes) {
  const {
    softmaxScale = 1 / Math.sqrt(sizes.headDim),
    softcap,
    causal = false,
    causalAlign = "bottom-right",
    windowSize = [-1, -1]
  } = options;
  checkFinite(fn, "softmaxScale", softmaxScale);
  if (softcap !== void 0 && !(Number.isFinite(softcap) && softcap > 0)) {
    throw new ArgumentError(fn, "softcap must be a finite number > 0", String(softcap));
  }
  checkBoolean(fn, "causal", causal);
  checkChoice(fn, "causalAlign", causalAlign, ["bottom-right", "top-left"]);
  checkWindow(fn, windowSize);
  const [left, right] = windowSize.map((side) => side < 0 ? Number.POSITIVE_INFINITY : side);
  return {
    softmaxScale,
    softcap: softcap ?? 0,
    windowLeft: left,
    windowRight: causal && causalAlign === "bottom-right" ? Math.min(0, right) : right,
    causalTopLeft: causal && causalAlign === "top-left",
    ...learnableOptions(fn, backend, options, sizes),
    ...dropout(fn, options)
  };
}
function checkWindow(fn, windowSize) {
  const fits2 = Array.isArray(windowSize) && windowSize.length === 2 && windowSize.every((side) => Number.isSafeInteger(side) && side >= -1);
  if (!fits2) {
    const got = Array.isArray(windowSize) ? formatShape(windowSize) : String(windowSize);
    throw new ArgumentError(fn, "windowSize must be [left, right], two integers \u2265 \u22121", got);
  }
}
function learnableOptions(fn, backend, { alibiSlopes, bias, sink, cuSeqlensQ }, { batchSize, nHeads, seqlenQ, seqlenK }) {
  for (const [name, tensor] of Object.entries({ alibiSlopes, bias, sink })) {
    if (tensor === void 0) continue;
    checkTensors(fn, backend, { [name]: tensor });
    checkDType(fn, name, tensor, "f32");
    checkLastAxis(fn, { [name]: tensor });
  }
  if (sink !== void 0) checkShape(fn, "sink", sink, [nHeads]);
  if (bias !== void 0 && cuSeqlensQ !== void 0) {
    throw new ArgumentError(
      fn,
      "bias must be left out with cuSeqlensQ: sequences of several lengths share no [Sq, Sk]",
      `bias ${formatShape(bias.shape)}`
    );
  }
  if (alibiSlopes !== void 0) checkShape(fn, "alibiSlopes", alibiSlopes, alibiSlopes.shape.length === 1 ? [nHeads] : [batchSize, nHeads]);
  return {
    ...alibiSlopes && { alibiSlopes: broadcast(fn, "alibiSlopes", alibiSlopes, [batchSize, nHeads]) },
    ...bias && { bias: broadcast(fn, "bias", bias, [batchSize, nHeads, seqlenQ, seqlenK]) },
    ...sink && { sink }
  };
}
function broadcast(fn, name, tensor, shape) {
  const missing = shape.length - tensor.shape.length;
  const fits2 = missing >= 0 && tensor.shape.every((size, axis) => size === 1 || size === shape[missing + axis]);
  if (!fits2) throw new ShapeError(fn, `${name} must be broadcastable to ${formatShape(shape)}`, formatShape(tensor.shape));
  const strides = shape.map(
    (_, axis) => axis < missing || tensor.shape[axis - missing] === 1 ? 0 : tensor.strides[axis - missing]
  );
  return { tensor, strides };
}
function dropout(fn, { dropoutP = 0, seed }) {
  if (!(dropoutP >= 0 && dropoutP < 1)) throw new ArgumentError(fn, "dropoutP must be in [0, 1)", String(dropoutP));
  if (dropoutP > 0 && seed === void 0) throw new ArgumentError(fn, "seed must be given with dropoutP > 0", "none");
  if (seed !== void 0) checkInteger(fn, "seed", seed, 0);
  return { dropoutP, dropoutThreshold: Math.floor(dropoutP * 2 ** 32), seed: seed ?? 0 };
}

// ../tensor/src/check/block-mask.ts
var BLOCK_MULTIPLE = 64;
var sound = /* @__PURE__ */ new WeakSet();
function checkBlockMask(fn, mask) {
  if (typeof mask !== "object" || mask === null) throw new ArgumentError(fn, "blockMask must be a BlockMask", String(mask));
  if (sound.has(mask)) return;
  for (const name of ["batchSize", "nHeads"]) checkInteger2(fn, name, mask[name], 1, 1);
  for (const name of ["seqlenQ", "seqlenK"]) checkInteger2(fn, name, mask[name], 0, 1);
  for (const name of ["blockM", "blockN"]) checkInteger2(fn, name, mask[name], BLOCK_MULTIPLE, BLOCK_MULTIPLE);
  const masks = mask.batchSize * mask.nHeads;
  const nMBlocks = Math.ceil(mask.seqlenQ / mask.blockM);
  const nNBlocks = Math.ceil(mask.seqlenK / mask.blockN);
  for (const name of ["kvOffsets", "kvBlocks", "kvBits", "qOffsets", "qBlocks", "qBits", "bits"]) {
    if (!(mask[name] instanceof Int32Array)) throw new ArgumentError(fn, `blockMask.${name} must be an Int32Array`, typeof mask[name]);
  }
  const words = mask.blockM * mask.blockN / 32;
  if (mask.bits.length % words !== 0) {
    throw new ShapeError(fn, `blockMask.bits must hold ${words} words per mask`, `${mask.bits.length} words`);
  }
  const nBits = mask.bits.length / words;
  checkRows(fn, "kv", { offsets: mask.kvOffsets, blocks: mask.kvBlocks, bits: mask.kvBits }, masks * nMBlocks, nNBlocks, nBits);
  checkRows(fn, "q", { offsets: mask.qOffsets, blocks: mask.qBlocks, bits: mask.qBits }, masks * nNBlocks, nMBlocks, nBits);
  checkTranspose(fn, mask, nMBlocks, nNBlocks);
  sound.add(mask);
}
function checkInteger2(fn, name, value, low, multiple) {
  if (!(Number.isSafeInteger(value) && value >= low && value % multiple === 0)) {
    const what = multiple > 1 ? `a positive multiple of ${multiple}` : `an integer \u2265 ${low}`;
    throw new ArgumentError(fn, `blockMask.${name} must be ${what}`, String(value));
  }
}
function checkRows(fn, side, { offsets, blocks, bits }, nRows, nBlocks, nBits) {
  if (offsets.length !== nRows + 1)
    throw new ShapeError(fn, `blockMask.${side}Offsets must hold ${nRows + 1} integers`, `${offsets.length}`);
  if (bits.length !== blocks.length) {
    throw new ShapeError(fn, `blockMask.${side}Bits must be as long as ${side}Blocks, ${blocks.length}`, `${bits.length}`);
  }
  if (offsets[0] !== 0 || offsets[nRows] !== blocks.length) {
    throw new ArgumentError(fn, `blockMask.${side}Offsets must go from 0 to ${blocks.length}`, `${offsets[0]} to ${offsets[nRows]}`);
  }
  for (let row = 0; row < nRows; row++) {
    const [begin, end] = [offsets[row], offsets[row + 1]];
    if (end < begin) throw new ArgumentError(fn, `blockMask.${side}Offsets must ascend`, `${begin} before ${end}`);
    let previous = -1;
    for (let t = begin; t < end; t++) {
      const block = blocks[t];
      if (block >= nBlocks || block < 0) throw new ArgumentError(fn, `blockMask.${side}Blocks must be in 0..${nBlocks - 1}`, String(block));
      if (block <= previous) {
        throw new ArgumentError(fn, `blockMask.${side}Blocks must ascend strictly within row ${row}`, `${previous} before ${block}`);
      }
      const mask = bits[t];
      if (mask < -1 || mask >= nBits) throw new ArgumentError(fn, `blockMask.${side}Bits must be in \u22121..${nBits - 1}`, String(mask));
      previous = block;
    }
  }
}
function checkTranspose(fn, mask, nMBlocks, nNBlocks) {
  const next = mask.qOffsets.slice(0, -1);
  const wrong = (mBlock, nBlock) => new ArgumentError(fn, "the q lists of blockMask must be the transpose of its kv lists", `a difference at tile (${mBlock}, ${nBlock})`);
  for (let row = 0; row < mask.kvOffsets.length - 1; row++) {
    const mBlock = row % nMBlocks;
    const columns = Math.floor(row / nMBlocks) * nNBlocks;
    for (let t = mask.kvOffsets[row]; t < mask.kvOffsets[row + 1]; t++) {
      const column = columns + mask.kvBlocks[t];
      const at = next[column];
      const same = at < mask.qOffsets[column + 1] && mask.qBlocks[at] === mBlock && mask.qBits[at] === mask.kvBits[t];
      if (!same) throw wrong(mBlock, mask.kvBlocks[t]);
      next[column] = at + 1;
    }
  }
  if (mask.qBlocks.length !== mask.kvBlocks.length) throw wrong(nMBlocks, nNBlocks);
}

// ../tensor/src/check/sequences.ts
function checkCuSeqlens(fn, { cuSeqlensQ, cuSeqlensK }, totalQ, totalK) {
  for (const [name, cuSeqlens, total] of [
    ["cuSeqlensQ", cuSeqlensQ, totalQ],
    ["cuSeqlensK", cuSeqlensK, totalK]
  ]) {
    if (!(cuSeqlens instanceof Int32Array) || cuSeqlens.length < 1) {
      throw new ArgumentError(
        fn,
        `${name} must be an Int32Array of B + 1 offsets (cuSeqlensQ and cuSeqlensK go together)`,
        describe2(cuSeqlens)
      );
    }
    if (cuSeqlens[0] !== 0 || cuSeqlens.at(-1) !== total) {
      throw new ArgumentError(fn, `${name} must go from 0 to ${total}, the number of rows`, `${cuSeqlens[0]} to ${cuSeqlens.at(-1)}`);
    }
    const drop = cuSeqlens.findIndex((offset, b) => b > 0 && offset < cuSeqlens[b - 1]);
    if (drop > 0) throw new ArgumentError(fn, `${name} must ascend`, `${cuSeqlens[drop - 1]} before ${cuSeqlens[drop]}`);
  }
  if (cuSeqlensQ?.length !== cuSeqlensK?.length) {
    throw new ArgumentError(fn, "cuSeqlensQ and cuSeqlensK must be of one length", `${cuSeqlensQ?.length} and ${cuSeqlensK?.length}`);
  }
}
function describe2(value) {
  return value instanceof Int32Array ? "an empty Int32Array" : value === void 0 ? "nothing" : `a ${typeof value}`;
}
function longest(cuSeqlens) {
  let max = 0;
  for (let b = 1; b < cuSeqlens.length; b++) max = Math.max(max, cuSeqlens[b] - cuSeqlens[b - 1]);
  return max;
}

// ../tensor/src/check/attention.ts
var MAX_HEAD_DIM = 256;
function checkAttentionForward(backend, q, k, v, options = {}) {
  const fn = "attentionForward";
  checkTensors(fn, backend, { q, k, v });
  checkOptions(fn, options, ATTENTION_OPTIONS);
  return attentionProblem(fn, backend, q, k, v, options);
}
function checkAttentionBackward(backend, dout, q, k, v, out, lse, options = {}) {
  const fn = "attentionBackward";
  checkTensors(fn, backend, { dout, q, k, v, out, lse });
  checkOptions(fn, options, BACKWARD_OPTIONS);
  const problem5 = attentionProblem(fn, backend, q, k, v, options);
  checkDType(fn, "dout", dout, q.dtype);
  checkDType(fn, "out", out, q.dtype);
  checkDType(fn, "lse", lse, "f32");
  checkShape(fn, "dout", dout, problem5.outShape);
  checkShape(fn, "out", out, problem5.outShape);
  checkShape(fn, "lse", lse, problem5.lseShape);
  checkLastAxis(fn, { dout, out, lse });
  problem5.optionGradients = optionGradients(fn, options);
  return problem5;
}
var ATTENTION_OPTIONS = [...SCORE_OPTIONS, "cuSeqlensQ", "cuSeqlensK", "blockMask"];
var BACKWARD_OPTIONS = [...ATTENTION_OPTIONS, "optionGradients"];
function optionGradients(fn, options) {
  const given = ["alibiSlopes", "bias", "sink"].filter((name) => options[name] !== void 0);
  const wanted = options.optionGradients;
  if (wanted === void 0) return given;
  const missing = Array.isArray(wanted) ? wanted.find((name) => !given.includes(name)) : String(wanted);
  if (missing !== void 0) {
    throw new ArgumentError(fn, `optionGradients must be among the learnable options given (${given.join(", ") || "none"})`, `'${missing}'`);
  }
  return given.filter((name) => wanted.includes(name));
}
function attentionProblem(fn, backend, q, k, v, options) {
  checkFloat(fn, "q", q);
  checkDType(fn, "k", k, q.dtype);
  checkDType(fn, "v", v, q.dtype);
  const sizes = options.cuSeqlensQ === void 0 && options.cuSeqlensK === void 0 ? batchSizes(fn, q, k, v) : packedSizes(fn, q, k, v, options);
  const { nHeads, nHeadsK } = sizes;
  if (nHeads < 1 || nHeadsK < 1 || nHeads % nHeadsK !== 0) {
    throw new ShapeError(fn, "the heads of q must be a positive multiple of the heads of k and v", `${nHeads} and ${nHeadsK}`);
  }
  checkHeadDim(fn, "q", q);
  checkHeadDim(fn, "v", v);
  checkLastAxis(fn, { q, k, v });
  if (options.blockMask !== void 0) checkMaskSizes(fn, options.blockMask, sizes, options.cuSeqlensQ !== void 0);
  const scores = scoreProblem(fn, backend, options, sizes);
  const problem5 = {
    batchSize: sizes.batchSize,
    seqlenQ: sizes.seqlenQ,
    seqlenK: sizes.seqlenK,
    totalQ: sizes.totalQ,
    totalK: sizes.totalK,
    nHeads,
    nHeadsK,
    headDim: sizes.headDim,
    headDimV: sizes.headDimV,
    softmaxScale: scores.softmaxScale,
    softcap: scores.softcap,
    windowLeft: scores.windowLeft,
    windowRight: scores.windowRight,
    causalTopLeft: scores.causalTopLeft,
    dropoutP: scores.dropoutP,
    dropoutThreshold: scores.dropoutThreshold,
    seed: scores.seed,
    dtype: q.dtype,
    outShape: sizes.outShape,
    lseShape: sizes.lseShape
  };
  if (scores.alibiSlopes) problem5.alibiSlopes = scores.alibiSlopes;
  if (scores.bias) problem5.bias = scores.bias;
  if (scores.sink) problem5.sink = scores.sink;
  if (sizes.cuSeqlensQ) problem5.cuSeqlensQ = sizes.cuSeqlensQ;
  if (sizes.cuSeqlensK) problem5.cuSeqlensK = sizes.cuSeqlensK;
  if (options.blockMask) problem5.blockMask = options.blockMask;
  return problem5;
}
function batchSizes(fn, q, k, v) {
  checkShape(fn, "q", q, ["B", "Sq", "Hq", "D"]);
  const [batchSize, seqlenQ, nHeads, headDim] = q.shape;
  checkShape(fn, "k", k, [batchSize, "Sk", "Hk", headDim]);
  const [, seqlenK, nHeadsK] = k.shape;
  checkShape(fn, "v", v, [batchSize, seqlenK, nHeadsK, "Dv"]);
  const headDimV = v.shape[3];
  return {
    batchSize,
    seqlenQ,
    seqlenK,
    totalQ: batchSize * seqlenQ,
    totalK: batchSize * seqlenK,
    nHeads,
    nHeadsK,
    headDim,
    headDimV,
    outShape: [batchSize, seqlenQ, nHeads, headDimV],
    lseShape: [batchSize, nHeads, seqlenQ]
  };
}
function packedSizes(fn, q, k, v, options) {
  checkShape(fn, "q", q, ["totalQ", "Hq", "D"]);
  const [totalQ, nHeads, headDim] = q.shape;
  checkShape(fn, "k", k, ["totalK", "Hk", headDim]);
  const [totalK, nHeadsK] = k.shape;
  checkShape(fn, "v", v, [totalK, nHeadsK, "Dv"]);
  const headDimV = v.shape[2];
  checkCuSeqlens(fn, options, totalQ, totalK);
  const cuSeqlensQ = options.cuSeqlensQ.slice();
  const cuSeqlensK = options.cuSeqlensK.slice();
  return {
    batchSize: cuSeqlensQ.length - 1,
    seqlenQ: longest(cuSeqlensQ),
    seqlenK: longest(cuSeqlensK),
    totalQ,
    totalK,
    nHeads,
    nHeadsK,
    headDim,
    headDimV,
    cuSeqlensQ,
    cuSeqlensK,
    outShape: [totalQ, nHeads, headDimV],
    lseShape: [nHeads, totalQ]
  };
}
function checkHeadDim(fn, name, { shape }) {
  const headDim = shape.at(-1);
  if (headDim < 1 || headDim > MAX_HEAD_DIM) {
    throw new ShapeError(fn, `the head dim of ${name} must be in 1..${MAX_HEAD_DIM}`, `${headDim} in ${formatShape(shape)}`);
  }
}
function checkMaskSizes(fn, mask, { batchSize, nHeads, seqlenQ, seqlenK }, packed) {
  checkBlockMask(fn, mask);
  const fits2 = (given, size) => packed ? given >= size : given === size;
  const sound2 = (mask.batchSize === 1 || mask.batchSize === batchSize) && (mask.nHeads === 1 || mask.nHeads === nHeads) && fits2(mask.seqlenQ, seqlenQ) && fits2(mask.seqlenK, seqlenK);
  if (!sound2) {
    const expected = `[${batchSize} or 1, ${nHeads} or 1, ${packed ? "\u2265 " : ""}${seqlenQ}, ${packed ? "\u2265 " : ""}${seqlenK}]`;
    throw new ShapeError(fn, `blockMask must cover ${expected}`, formatShape([mask.batchSize, mask.nHeads, mask.seqlenQ, mask.seqlenK]));
  }
}

// ../tensor/src/check/attention-inspection.ts
function checkAttentionRows(backend, q, k, lse, rows2, options = {}) {
  const fn = "attentionRows";
  const problem5 = inspectionProblem(fn, backend, q, k, lse, options);
  if (typeof rows2 !== "object" || rows2 === null || !Number.isSafeInteger(rows2.length)) {
    throw new ArgumentError(fn, "rows must be an array of query indices", typeof rows2);
  }
  for (let r = 0; r < rows2.length; r++) {
    const row = rows2[r];
    if (!(Number.isSafeInteger(row) && row >= 0 && row < problem5.seqlenQ)) {
      throw new ArgumentError(fn, `rows must be integers in 0..${problem5.seqlenQ - 1}`, String(row));
    }
  }
  return { ...problem5, rows: Int32Array.from(rows2), rowsShape: [problem5.batchSize, problem5.nHeads, rows2.length, problem5.seqlenK] };
}
function checkAttentionColumnSums(backend, q, k, lse, options = {}) {
  const problem5 = inspectionProblem("attentionColumnSums", backend, q, k, lse, options);
  return { ...problem5, sumsShape: [problem5.batchSize, problem5.nHeads, problem5.seqlenK] };
}
function checkAttentionTopK(backend, q, k, lse, topK, options = {}) {
  const problem5 = inspectionProblem("attentionTopK", backend, q, k, lse, options);
  checkInteger("attentionTopK", "topK", topK, 1);
  return { ...problem5, topK, topKShape: [problem5.batchSize, problem5.nHeads, problem5.seqlenQ, topK] };
}
function inspectionProblem(fn, backend, q, k, lse, options) {
  checkTensors(fn, backend, { q, k, lse });
  checkOptions(fn, options, ATTENTION_OPTIONS);
  if (options.cuSeqlensQ !== void 0 || options.cuSeqlensK !== void 0) {
    throw new ArgumentError(fn, "cuSeqlensQ and cuSeqlensK must be left out: slice q, k and lse to one sequence", "variable lengths");
  }
  const problem5 = attentionProblem(fn, backend, q, k, k, options);
  checkDType(fn, "lse", lse, "f32");
  checkShape(fn, "lse", lse, problem5.lseShape);
  checkLastAxis(fn, { lse });
  return problem5;
}

// ../tensor/src/check/cross-entropy.ts
var DEFAULT_IGNORE_INDEX = -100;
function checkCrossEntropyForward(backend, logits, targets, options = {}) {
  const fn = "crossEntropyForward";
  checkTensors(fn, backend, { logits, targets });
  checkOptions(fn, options, ["ignoreIndex"]);
  return problem(fn, logits, targets, options);
}
function checkCrossEntropyBackward(backend, dloss, logits, targets, lse, options = {}) {
  const fn = "crossEntropyBackward";
  checkTensors(fn, backend, { dloss, logits, targets, lse });
  checkOptions(fn, options, ["ignoreIndex", "out"]);
  const result = problem(fn, logits, targets, options);
  checkGradient(fn, dloss, lse, result);
  checkTarget(fn, "out", options.out, backend, result.logitsShape, logits.dtype);
  return result;
}
function checkLinearCrossEntropyForward(backend, x, weight, targets, options = {}) {
  const fn = "linearCrossEntropyForward";
  checkTensors(fn, backend, { x, weight, targets });
  checkOptions(fn, options, ["ignoreIndex"]);
  return linearProblem(fn, x, weight, targets, options);
}
function checkLinearCrossEntropyBackward(backend, dloss, x, weight, targets, lse, options = {}) {
  const fn = "linearCrossEntropyBackward";
  checkTensors(fn, backend, { dloss, x, weight, targets, lse });
  checkOptions(fn, options, ["ignoreIndex", "dweightInto"]);
  const result = linearProblem(fn, x, weight, targets, options);
  checkGradient(fn, dloss, lse, result);
  checkTarget(fn, "dweightInto", options.dweightInto, backend, weight.shape, x.dtype, "f32");
  return result;
}
function problem(fn, logits, targets, options) {
  checkFloat(fn, "logits", logits);
  checkShape(fn, "logits", logits, ["R", "V"]);
  checkLastAxis(fn, { logits });
  const [rows2, vocabSize] = logits.shape;
  if (vocabSize === 0) throw new ShapeError(fn, "logits must be [R, V] with V \u2265 1", formatShape(logits.shape));
  return rowsProblem(fn, rows2, vocabSize, logits.dtype, targets, options);
}
function linearProblem(fn, x, weight, targets, options) {
  checkFloat(fn, "x", x);
  checkDType(fn, "weight", weight, x.dtype);
  checkShape(fn, "x", x, ["R", "C"]);
  const [rows2, channels] = x.shape;
  checkShape(fn, "weight", weight, ["V", channels]);
  checkLastAxis(fn, { x, weight });
  const vocabSize = weight.shape[0];
  if (vocabSize === 0) throw new ShapeError(fn, "weight must be [V, C] with V \u2265 1", formatShape(weight.shape));
  return { ...rowsProblem(fn, rows2, vocabSize, x.dtype, targets, options), channels };
}
function rowsProblem(fn, rows2, vocabSize, dtype, targets, options) {
  const { ignoreIndex = DEFAULT_IGNORE_INDEX } = options;
  checkInteger(fn, "ignoreIndex", ignoreIndex);
  checkDType(fn, "targets", targets, "i32");
  checkShape(fn, "targets", targets, [rows2]);
  checkLastAxis(fn, { targets });
  return { rows: rows2, vocabSize, ignoreIndex, lossShape: [], lseShape: [rows2], logitsShape: [rows2, vocabSize], dtype };
}
function checkGradient(fn, dloss, lse, { lossShape, lseShape }) {
  checkDType(fn, "dloss", dloss, "f32");
  checkShape(fn, "dloss", dloss, lossShape);
  checkDType(fn, "lse", lse, "f32");
  checkShape(fn, "lse", lse, lseShape);
  checkLastAxis(fn, { lse });
}

// ../tensor/src/check/data.ts
var fits = {
  f32: ["Float32Array", "Float64Array", "number[]"],
  i32: ["Int32Array", "number[]"],
  f16: ["Uint16Array"],
  bf16: ["Uint16Array"]
};
function checkTensorData(data, shape, dtype) {
  checkShape2("tensor", shape);
  if (data.length !== numel(shape)) {
    throw new ShapeError("tensor", `${numel(shape)} elements for shape ${formatShape(shape)}`, `${data.length}`);
  }
  if (dtype === void 0 && data instanceof Uint16Array) {
    throw new DTypeError("tensor", "dtype must be 'f16' or 'bf16' for a Uint16Array of bits", "none");
  }
  const to = dtype ?? (data instanceof Int32Array ? "i32" : "f32");
  if (!fits[to]) throw new DTypeError("tensor", "dtype must be f32, f16, bf16 or i32", String(to));
  const name = Array.isArray(data) ? "number[]" : data.constructor.name;
  if (!fits[to].includes(name)) throw new DTypeError("tensor", `data of dtype ${to} must be ${fits[to].join(" or ")}`, name);
  return to;
}
function checkShape2(fn, shape) {
  if (shape.some((size) => !Number.isInteger(size) || size < 0)) {
    throw new ShapeError(fn, "axes that are integers \u2265 0", formatShape(shape));
  }
}

// ../tensor/src/check/embedding.ts
function checkEmbeddingForward(backend, tokens, weight, options = {}) {
  const fn = "embeddingForward";
  checkTensors(fn, backend, { tokens, weight });
  checkOptions(fn, options, []);
  checkDType(fn, "tokens", tokens, "i32");
  checkFloat(fn, "weight", weight);
  checkShape(fn, "weight", weight, ["V", "C"]);
  checkLastAxis(fn, { tokens, weight });
  const [vocabSize, channels] = weight.shape;
  return { tokens: numel(tokens.shape), vocabSize, channels, outShape: [...tokens.shape, channels], dtype: weight.dtype };
}
function checkEmbeddingBackward(backend, dout, tokens, vocabSize, options = {}) {
  const fn = "embeddingBackward";
  checkTensors(fn, backend, { dout, tokens });
  checkOptions(fn, options, ["accumulateInto"]);
  checkInteger(fn, "vocabSize", vocabSize, 1);
  checkDType(fn, "tokens", tokens, "i32");
  checkFloat(fn, "dout", dout);
  checkRank(fn, "dout", dout, 1, "[..., C]");
  checkShape(fn, "dout", dout, [...tokens.shape, "C"]);
  checkLastAxis(fn, { dout, tokens });
  const channels = dout.shape.at(-1);
  const outShape = [vocabSize, channels];
  checkTarget(fn, "accumulateInto", options.accumulateInto, backend, outShape, dout.dtype, "f32");
  return { tokens: numel(tokens.shape), vocabSize, channels, outShape, dtype: dout.dtype };
}

// ../tensor/src/check/matmul.ts
function checkMatmul(backend, a, b, options = {}) {
  const fn = "matmul";
  checkTensors(fn, backend, { a, b });
  checkOptions(fn, options, ["transposeA", "transposeB", "alpha", "bias", "activation", "preActivation", "accumulateInto"]);
  const { transposeA = false, transposeB = false, alpha = 1, activation = "none", bias, preActivation, accumulateInto } = options;
  checkBoolean(fn, "transposeA", transposeA);
  checkBoolean(fn, "transposeB", transposeB);
  checkFinite(fn, "alpha", alpha);
  checkChoice(fn, "activation", activation, ["none", "gelu"]);
  checkFloat(fn, "a", a);
  checkDType(fn, "b", b, a.dtype);
  checkRank(fn, "a", a, 2, transposeA ? "[..., K, M]" : "[..., M, K]");
  const leading = a.shape.slice(0, -2);
  const sharedB = b.shape.length === 2;
  const [m, k] = transposeA ? [a.shape.at(-1), a.shape.at(-2)] : [a.shape.at(-2), a.shape.at(-1)];
  checkShape(fn, "b", b, [...sharedB ? [] : leading, ...transposeB ? ["N", k] : [k, "N"]]);
  const n = b.shape.at(transposeB ? -2 : -1);
  checkLastAxis(fn, { a, b });
  const outShape = [...leading, m, n];
  if (bias !== void 0) {
    checkTensors(fn, backend, { bias });
    checkDType(fn, "bias", bias, a.dtype);
    checkShape(fn, "bias", bias, [n]);
    checkLastAxis(fn, { bias });
  }
  checkTarget(fn, "preActivation", preActivation, backend, outShape, a.dtype);
  checkTarget(fn, "accumulateInto", accumulateInto, backend, outShape, a.dtype, "f32");
  if (accumulateInto !== void 0 && (bias !== void 0 || activation !== "none" || preActivation !== void 0)) {
    throw new ArgumentError(fn, "accumulateInto goes without bias, activation and preActivation", "both");
  }
  return { batch: numel(leading), m, n, k, sharedB, transposeA, transposeB, alpha, activation, outShape, dtype: a.dtype };
}
function checkSumRows(backend, x, options = {}) {
  const fn = "sumRows";
  checkTensors(fn, backend, { x });
  checkOptions(fn, options, ["accumulateInto"]);
  checkFloat(fn, "x", x);
  checkRank(fn, "x", x, 1, "[..., N]");
  checkLastAxis(fn, { x });
  const columns = x.shape.at(-1);
  checkTarget(fn, "accumulateInto", options.accumulateInto, backend, [columns], x.dtype, "f32");
  return { rows: rows(x.shape), columns, outShape: [columns], dtype: x.dtype };
}

// ../tensor/src/check/norm.ts
var DEFAULT_EPS = 1e-5;
function checkLayerNormForward(backend, x, weight, bias, options = {}) {
  const fn = "layerNormForward";
  checkTensors(fn, backend, { x, weight, bias });
  return { ...problem2(fn, x, { weight, bias }), eps: checkEps(fn, options) };
}
function checkLayerNormBackward(backend, dout, x, weight, mean, rstd, options = {}) {
  const fn = "layerNormBackward";
  checkTensors(fn, backend, { dout, x, weight, mean, rstd });
  checkOptions(fn, options, ["dweightInto", "dbiasInto"]);
  const result = problem2(fn, x, { weight });
  checkBackward(fn, result, dout, { mean, rstd });
  checkTarget(fn, "dweightInto", options.dweightInto, backend, [result.channels], x.dtype, "f32");
  checkTarget(fn, "dbiasInto", options.dbiasInto, backend, [result.channels], x.dtype, "f32");
  return result;
}
function checkRmsNormForward(backend, x, weight, options = {}) {
  const fn = "rmsNormForward";
  checkTensors(fn, backend, { x, weight });
  return { ...problem2(fn, x, { weight }), eps: checkEps(fn, options) };
}
function checkRmsNormBackward(backend, dout, x, weight, rstd, options = {}) {
  const fn = "rmsNormBackward";
  checkTensors(fn, backend, { dout, x, weight, rstd });
  checkOptions(fn, options, ["dweightInto"]);
  const result = problem2(fn, x, { weight });
  checkBackward(fn, result, dout, { rstd });
  checkTarget(fn, "dweightInto", options.dweightInto, backend, [result.channels], x.dtype, "f32");
  return result;
}
function problem2(fn, x, parameters) {
  checkFloat(fn, "x", x);
  checkRank(fn, "x", x, 1, "[..., C]");
  const channels = x.shape.at(-1);
  if (channels === 0) throw new ShapeError(fn, "x must be [..., C] with C \u2265 1", formatShape(x.shape));
  for (const [name, parameter] of Object.entries(parameters)) {
    checkDType(fn, name, parameter, x.dtype);
    checkShape(fn, name, parameter, [channels]);
  }
  checkLastAxis(fn, { x, ...parameters });
  return { rows: rows(x.shape), channels, outShape: x.shape, statShape: leadingAxes(x.shape), dtype: x.dtype };
}
function checkBackward(fn, { outShape, statShape, dtype }, dout, stats) {
  checkDType(fn, "dout", dout, dtype);
  checkShape(fn, "dout", dout, outShape);
  for (const [name, stat] of Object.entries(stats)) {
    checkDType(fn, name, stat, "f32");
    checkShape(fn, name, stat, statShape);
  }
  checkLastAxis(fn, { dout, ...stats });
}
function checkEps(fn, options) {
  checkOptions(fn, options, ["eps"]);
  const { eps = DEFAULT_EPS } = options;
  checkAtLeast(fn, "eps", eps, 0);
  return eps;
}

// ../tensor/src/check/optimizer.ts
function checkAdamwStep(backend, param, grad, expAvg, expAvgSq, options) {
  const fn = "adamwStep";
  checkTensors(fn, backend, { param, grad, expAvg, expAvgSq });
  checkOptions(fn, options, ["lr", "beta1", "beta2", "eps", "weightDecay", "step", "gradScale"]);
  const { lr, beta1, beta2, eps, weightDecay, step, gradScale = 1 } = options;
  checkAtLeast(fn, "lr", lr, 0);
  checkBeta(fn, "beta1", beta1);
  checkBeta(fn, "beta2", beta2);
  checkAtLeast(fn, "eps", eps, 0);
  checkAtLeast(fn, "weightDecay", weightDecay, 0);
  checkInteger(fn, "step", step, 1);
  checkFinite(fn, "gradScale", gradScale);
  checkFloat(fn, "param", param);
  checkTarget(fn, "param", param, backend, param.shape, param.dtype);
  checkDType(fn, "grad", grad, param.dtype, "f32");
  checkShape(fn, "grad", grad, param.shape);
  checkLastAxis(fn, { grad });
  checkTarget(fn, "expAvg", expAvg, backend, param.shape, param.dtype, "f32");
  checkTarget(fn, "expAvgSq", expAvgSq, backend, param.shape, expAvg.dtype);
  return {
    lr,
    beta1,
    beta2,
    eps,
    weightDecay,
    step,
    gradScale,
    elements: numel(param.shape),
    dtype: param.dtype,
    stateDType: expAvg.dtype
  };
}
function checkSumSquares(backend, x, options = {}) {
  const fn = "sumSquares";
  checkTensors(fn, backend, { x });
  checkOptions(fn, options, ["accumulateInto"]);
  checkFloat(fn, "x", x);
  checkLastAxis(fn, { x });
  checkTarget(fn, "accumulateInto", options.accumulateInto, backend, [], "f32");
  return { elements: numel(x.shape), outShape: [], dtype: x.dtype };
}
function checkBeta(fn, name, beta) {
  if (!(beta >= 0 && beta < 1)) throw new ArgumentError(fn, `${name} must be in [0, 1)`, String(beta));
}

// ../tensor/src/check/rope.ts
function checkRopeForward(backend, x, cos, sin, options = {}) {
  return problem3("ropeForward", backend, "x", x, cos, sin, options);
}
function checkRopeBackward(backend, dout, cos, sin, options = {}) {
  return problem3("ropeBackward", backend, "dout", dout, cos, sin, options);
}
function problem3(fn, backend, name, x, cos, sin, options) {
  checkTensors(fn, backend, { [name]: x, cos, sin });
  checkOptions(fn, options, ["positionOffset"]);
  const { positionOffset = 0 } = options;
  checkInteger(fn, "positionOffset", positionOffset, 0);
  checkFloat(fn, name, x);
  checkDType(fn, "cos", cos, "f32");
  checkDType(fn, "sin", sin, "f32");
  checkShape(fn, name, x, ["B", "S", "H", "D"]);
  checkShape(fn, "cos", cos, ["maxS", "R/2"]);
  checkShape(fn, "sin", sin, cos.shape);
  checkLastAxis(fn, { [name]: x, cos, sin });
  const [batchSize, seqlen, nHeads, headDim] = x.shape;
  const [maxSeqlen, half] = cos.shape;
  if (2 * half > headDim) throw new ShapeError(fn, `cos must be [maxS, R/2] with R/2 \u2264 ${Math.floor(headDim / 2)}`, formatShape(cos.shape));
  if (seqlen + positionOffset > maxSeqlen) {
    throw new ShapeError(fn, `cos must have a row for each of ${seqlen} + ${positionOffset} positions`, formatShape(cos.shape));
  }
  return { batchSize, seqlen, nHeads, headDim, rotaryDim: 2 * half, positionOffset, outShape: x.shape, dtype: x.dtype };
}

// ../tensor/src/check/softmax.ts
function checkSoftmaxForward(backend, x, options = {}) {
  const fn = "softmaxForward";
  checkTensors(fn, backend, { x });
  checkOptions(fn, options, ["out", "scale", "causal"]);
  const { causal = false } = options;
  checkBoolean(fn, "causal", causal);
  return { ...problem4(fn, backend, "x", x, options), causal };
}
function checkSoftmaxBackward(backend, dout, out, options = {}) {
  const fn = "softmaxBackward";
  checkTensors(fn, backend, { dout, out });
  checkOptions(fn, options, ["out", "scale"]);
  const result = problem4(fn, backend, "out", out, options);
  checkDType(fn, "dout", dout, out.dtype);
  checkShape(fn, "dout", dout, out.shape);
  checkLastAxis(fn, { dout });
  return result;
}
function problem4(fn, backend, name, x, options) {
  const { scale = 1 } = options;
  checkFinite(fn, "scale", scale);
  checkFloat(fn, name, x);
  checkRank(fn, name, x, 1, "[..., Sq, Sk]");
  checkLastAxis(fn, { [name]: x });
  checkTarget(fn, name === "out" ? "options.out" : "out", options.out, backend, x.shape, x.dtype);
  return {
    rows: rows(x.shape),
    seqlenQ: x.shape.at(-2) ?? 1,
    seqlenK: x.shape.at(-1),
    scale,
    outShape: x.shape,
    dtype: x.dtype
  };
}

// ../tensor/src/errors/device-error.ts
var DeviceError = class extends TilegradError {
  name = "DeviceError";
};

// ../tensor/src/errors/out-of-memory-error.ts
var OutOfMemoryError = class extends TilegradError {
  name = "OutOfMemoryError";
  constructor(backend, requestedBytes, heldBytes) {
    super(`${backend}: out of memory: ${requestedBytes} bytes requested with ${heldBytes} bytes held`);
  }
};

// ../tensor/src/errors/unsupported-error.ts
var UnsupportedError = class extends TilegradError {
  name = "UnsupportedError";
  constructor(backend, kernel, what) {
    super(`${backend}: no kernel '${kernel}' for ${what}`);
  }
};

// ../tensor/src/scope.ts
var ScopeStack = class {
  open = [];
  /** Called for each new handle. */
  track(tensor) {
    this.open.at(-1)?.add(tensor);
  }
  /** Takes a handle out of every open scope (it was kept, or disposed early). */
  untrack(tensor) {
    for (const made of this.open) made.delete(tensor);
  }
  /** Runs `fn`; disposes what was made in it and is not in its result, which moves to the enclosing scope. */
  run(fn) {
    const made = /* @__PURE__ */ new Set();
    this.open.push(made);
    const kept = /* @__PURE__ */ new Set();
    try {
      const result = fn();
      if (typeof result?.then === "function") {
        throw new TilegradError("scope: fn must be synchronous, got a promise; kernels only enqueue, so read after the scope");
      }
      collectTensors(result, kept);
      return result;
    } finally {
      this.open.pop();
      for (const tensor of made) {
        if (!kept.has(tensor)) tensor.dispose();
        else this.open.at(-1)?.add(tensor);
      }
    }
  }
};
function collectTensors(value, into, seen = /* @__PURE__ */ new Set()) {
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  if (isTensor(value)) {
    into.add(value);
  } else if (typeof value.tilegradTensors === "function") {
    for (const tensor of value.tilegradTensors()) into.add(tensor);
  } else if (Array.isArray(value) || value instanceof Map || value instanceof Set) {
    for (const item of value) collectTensors(item, into, seen);
  } else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const item of Object.values(value)) collectTensors(item, into, seen);
  }
}

// ../tensor/src/strided-tensor.ts
var forgotten = new FinalizationRegistry((storage) => storage.release());
var StridedTensor = class _StridedTensor {
  /** Takes over one reference of `storage`. `offset` is in elements from the start of the storage. */
  constructor(backend, storage, shape, dtype, strides = contiguousStrides(shape), offset = 0) {
    this.backend = backend;
    this.storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.strides = strides;
    this.offset = offset;
    forgotten.register(this, storage, this);
    backend.scopes.track(this);
  }
  backend;
  storage;
  shape;
  dtype;
  strides;
  offset;
  live = true;
  get disposed() {
    return !this.live;
  }
  get version() {
    return this.storage.version;
  }
  get byteOffset() {
    return this.offset * bytesPerElement[this.dtype];
  }
  async read() {
    this.assertLive("read");
    return this.backend.readTensor(this);
  }
  reshape(shape) {
    this.assertLive("reshape");
    const to = inferShape(this.shape, shape);
    const strides = reshapedStrides(this.shape, this.strides, to);
    if (!strides) {
      throw new ShapeError(
        "reshape",
        `a view of ${formatShape(this.shape)} with strides ${formatShape(this.strides)} that needs no copy`,
        `${formatShape(to)}; copy() it first`
      );
    }
    return this.view(to, strides, this.offset);
  }
  permute(axes) {
    this.assertLive("permute");
    const rank = this.shape.length;
    if (axes.length !== rank || new Set(axes).size !== rank || axes.some((a) => !Number.isInteger(a) || a < 0 || a >= rank)) {
      throw new ShapeError("permute", `axes must be a permutation of 0..${rank - 1}`, formatShape(axes));
    }
    return this.view(
      axes.map((a) => this.shape[a]),
      axes.map((a) => this.strides[a]),
      this.offset
    );
  }
  slice(start, end) {
    this.assertLive("slice");
    if (start.length !== end.length || start.length > this.shape.length) {
      throw new ShapeError("slice", `start and end of one length, at most ${this.shape.length}`, `${start.length} and ${end.length}`);
    }
    const shape = [...this.shape];
    let offset = this.offset;
    for (let i = 0; i < start.length; i++) {
      const from = start[i];
      const to = end[i];
      const size = this.shape[i];
      if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || to < from || to > size) {
        throw new ShapeError("slice", `0 \u2264 start \u2264 end \u2264 ${size} on axis ${i}`, `[${from}, ${to})`);
      }
      shape[i] = to - from;
      offset += from * this.strides[i];
    }
    return this.view(shape, this.strides, offset);
  }
  dispose() {
    if (!this.live) return;
    this.live = false;
    forgotten.unregister(this);
    this.backend.scopes.untrack(this);
    this.storage.release();
  }
  [Symbol.dispose]() {
    this.dispose();
  }
  view(shape, strides, offset) {
    this.storage.retain();
    return new _StridedTensor(this.backend, this.storage, shape, this.dtype, strides, offset);
  }
  assertLive(fn) {
    if (!this.live) throw new DisposedError(fn, `tensor ${formatShape(this.shape)}`);
  }
};
function inferShape(from, shape) {
  const total = numel(from);
  const to = [...shape];
  const unknown = to.indexOf(-1);
  if (unknown >= 0) {
    const known = to.reduce((n, s, i) => i === unknown ? n : n * s, 1);
    to[unknown] = known === 0 ? Number.NaN : total / known;
  }
  if (to.some((s) => !Number.isInteger(s) || s < 0) || numel(to) !== total) {
    throw new ShapeError("reshape", `${total} elements as in ${formatShape(from)}`, formatShape(shape));
  }
  return to;
}
function reshapedStrides(from, strides, to) {
  if (numel(from) === 0) return contiguousStrides(to);
  const merged = [];
  for (let i = 0; i < from.length; i++) {
    const size = from[i];
    const stride2 = strides[i];
    if (size === 1) continue;
    const last = merged.at(-1);
    if (last && last.stride === size * stride2) {
      last.size *= size;
      last.stride = stride2;
    } else merged.push({ size, stride: stride2 });
  }
  const result = new Array(to.length).fill(1);
  let axis = merged.length - 1;
  let left = merged[axis]?.size ?? 1;
  let stride = merged[axis]?.stride ?? 1;
  for (let i = to.length - 1; i >= 0; i--) {
    const size = to[i];
    result[i] = stride;
    if (size === 1) continue;
    if (left === 1) {
      axis--;
      left = merged[axis]?.size ?? 1;
      stride = merged[axis]?.stride ?? 1;
      result[i] = stride;
    }
    if (left % size !== 0) return void 0;
    left /= size;
    stride *= size;
  }
  return result;
}

// src/host-data.ts
function toElements(data, shape, dtype) {
  const to = checkTensorData(data, shape, dtype);
  return { array: convert(data, to), dtype: to };
}
function convert(data, dtype) {
  if (dtype === "f32") return data instanceof Float32Array ? data : Float32Array.from(data);
  if (dtype === "i32") return data instanceof Int32Array ? data : Int32Array.from(data);
  return data;
}
function arrayOf(dtype, length) {
  if (dtype === "f32") return new Float32Array(length);
  return dtype === "i32" ? new Int32Array(length) : new Uint16Array(length);
}
function bytesOf(array) {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

// src/kernel-profile.ts
var ProfileEntries = class {
  /** The first slots are those of the engine's own names, the last is for all that find no other free. */
  constructor(names, slots) {
    this.names = names;
    this.slots = slots;
  }
  names;
  slots;
  entries = /* @__PURE__ */ new Map();
  entryOf(kernel, shape) {
    const slot = Math.min(this.slots - 1, this.names.length + this.entries.size);
    const [name, details] = slot < this.slots - 1 ? [kernel, shape] : ["others", ""];
    const key = keyOf(kernel, shape);
    const entry = this.entries.get(key) ?? this.entries.get(keyOf(name, details)) ?? { kernel: name, shape: details, slot, ...nothing };
    this.entries.set(keyOf(entry.kernel, entry.shape), entry);
    return entry;
  }
  /** The longest first. `timeOf` gives what the engine measured in a slot. */
  profiles(timeOf) {
    const own = this.names.map((kernel, slot) => ({ ...nothing, kernel, shape: "", slot, calls: timeOf(slot).calls }));
    const all = [...own, ...this.entries.values()].map(({ slot, ...entry }) => ({ ...entry, milliseconds: timeOf(slot).milliseconds }));
    const used = all.filter(({ calls }) => calls > 0).sort((a, b) => b.milliseconds - a.milliseconds);
    return new Map(used.map((profile) => [keyOf(profile.kernel, profile.shape), profile]));
  }
};
var nothing = { calls: 0, flops: 0, bytes: 0 };
function keyOf(kernel, shape) {
  return `${kernel} ${shape}`.trim();
}

// src/kernel-cost.ts
function kernelWork(kernel, args) {
  const tensors = args;
  switch (kernel) {
    case "matmul":
      return matmulWork(args);
    case "attentionForward": {
      const [q, k, v, options] = args;
      return attentionWork(q, k, options, headDimOf(q) + headDimOf(v));
    }
    case "attentionBackward": {
      const [, q, k, v, , , options] = args;
      return attentionWork(q, k, options, 3 * headDimOf(q) + 2 * headDimOf(v));
    }
    case "linearCrossEntropyForward":
      return lossWork(tensors[0], tensors[1], 1);
    case "linearCrossEntropyBackward":
      return lossWork(tensors[1], tensors[2], 3);
    default:
      return { flops: 0, shape: tensors.find(isTensor2)?.shape.join("\xD7") ?? "" };
  }
}
function kernelBytes(kernel, args, result) {
  const results = tensorsIn(result);
  if (kernel === "adamwStep") results.push(...args.filter((_, i) => i === 0 || i === 2 || i === 3));
  const operands = kernel === "embeddingForward" ? [args[0], ...results] : args.flatMap(operandsIn);
  return [...operands, ...results].reduce((sum, tensor) => sum + numel(tensor.shape) * bytesPerElement[tensor.dtype], 0);
}
function matmulWork([a, b, options = {}]) {
  const { transposeA = false, transposeB = false, bias, activation, accumulateInto } = options;
  const k = a.shape.at(transposeA ? -2 : -1) ?? 1;
  const n = b.shape.at(transposeB ? -2 : -1) ?? 1;
  const rows2 = numel(a.shape) / Math.max(1, k);
  const details = [
    `${rows2}\xD7${n}\xD7${k}`,
    ...transposeA ? ["a\u1D40"] : [],
    ...transposeB ? ["b\u1D40"] : [],
    ...bias ? ["+ bias"] : [],
    ...activation && activation !== "none" ? [activation] : [],
    ...accumulateInto ? ["accumulated"] : []
  ];
  return { flops: 2 * rows2 * n * k, shape: details.join(" ") };
}
function attentionWork(q, k, options = {}, dims) {
  const { cuSeqlensQ, cuSeqlensK } = options;
  const sequences = cuSeqlensQ && cuSeqlensK ? lengths(cuSeqlensQ).map((seqlenQ2, i) => [seqlenQ2, lengths(cuSeqlensK)[i] ?? 0]) : void 0;
  const [batchSize, seqlenQ, seqlenK] = [q.shape[0] ?? 1, q.shape[1] ?? 0, k.shape[1] ?? 0];
  const pairs = sequences ? sequences.reduce((sum, [rows2 = 0, keys = 0]) => sum + visiblePairs(rows2, keys, options), 0) : batchSize * visiblePairs(seqlenQ, seqlenK, options);
  const shape = [q.shape.join("\xD7"), ...sequences || seqlenQ === seqlenK ? [] : [`Sk ${seqlenK}`], ...options.causal ? ["causal"] : []];
  return { flops: 2 * (q.shape.at(-2) ?? 1) * pairs * dims, shape: shape.join(" ") };
}
function visiblePairs(seqlenQ, seqlenK, { causal = false, causalAlign = "bottom-right", windowSize = [-1, -1] }) {
  const shift = seqlenK - seqlenQ;
  const causalMax = causal ? causalAlign === "bottom-right" ? shift : 0 : Number.POSITIVE_INFINITY;
  const diagonalMin = windowSize[0] < 0 ? Number.NEGATIVE_INFINITY : shift - windowSize[0];
  const diagonalMax = Math.min(causalMax, windowSize[1] < 0 ? Number.POSITIVE_INFINITY : shift + windowSize[1]);
  let pairs = 0;
  for (let i = 0; i < seqlenQ; i++) {
    pairs += Math.max(0, Math.min(seqlenK - 1, i + diagonalMax) - Math.max(0, i + diagonalMin) + 1);
  }
  return pairs;
}
function lengths(cuSeqlens) {
  return Array.from(cuSeqlens.subarray(1), (end, i) => end - cuSeqlens[i]);
}
function lossWork(x, weight, products) {
  const [vocabSize, channels] = [weight.shape[0] ?? 0, weight.shape[1] ?? 0];
  const rows2 = numel(x.shape) / Math.max(1, channels);
  return { flops: 2 * products * rows2 * vocabSize * channels, shape: `${rows2}\xD7${vocabSize}\xD7${channels}` };
}
function operandsIn(argument) {
  if (isTensor2(argument) || typeof argument !== "object" || argument === null) return tensorsIn(argument);
  return Object.entries(argument).flatMap(([name, value]) => name !== "out" && isTensor2(value) ? [value] : []);
}
function tensorsIn(value) {
  if (isTensor2(value)) return [value];
  return typeof value === "object" && value !== null ? Object.values(value).filter(isTensor2) : [];
}
function headDimOf(tensor) {
  return tensor.shape.at(-1) ?? 0;
}
function isTensor2(value) {
  return typeof value === "object" && value !== null && "dtype" in value && "strides" in value;
}

// src/storage.ts
var CpuStorage = class {
  constructor(allocator, block) {
    this.allocator = allocator;
    this.block = block;
  }
  allocator;
  block;
  version = 0;
  references = 1;
  get bytes() {
    return this.block.bytes;
  }
  get address() {
    return this.block.address;
  }
  retain() {
    this.references++;
  }
  release() {
    this.references--;
    if (this.references === 0) this.allocator.free(this.block);
  }
};

// src/kernel-runner.ts
var KernelRunner = class {
  constructor(backend, engine) {
    this.backend = backend;
    this.engine = engine;
    this.threads = engine.threads;
    this.lanes = engine.lanes;
    this.indices = new Map(engine.kernels.map((name, index) => [name, index]));
  }
  backend;
  engine;
  threads;
  lanes;
  indices;
  calls = [];
  /** While a profile is on. */
  profile;
  run(name, ...args) {
    const index = this.indices.get(name);
    if (index === void 0) throw new UnsupportedError("cpu", name, `this build of the ${this.engine.runtime} kernels; build it again`);
    if (this.profile) this.measure();
    this.engine.ring.kernel(index, args);
  }
  empty(shape, dtype = "f32") {
    const tensor = this.make(shape, dtype);
    this.calls.at(-1)?.made.push(tensor);
    return tensor;
  }
  temporary(shape, dtype = "f32") {
    const tensor = this.make(shape, dtype);
    this.calls.at(-1)?.temporaries.push(tensor);
    return tensor;
  }
  upload(data) {
    const tensor = this.backend.tensor(data, [data.length]);
    this.calls.at(-1)?.temporaries.push(tensor);
    return tensor;
  }
  contiguous(tensor) {
    if (isContiguous(tensor.shape, tensor.strides)) return tensor;
    const copy = this.backend.kernels.copy(tensor);
    this.calls.at(-1)?.temporaries.push(copy);
    return copy;
  }
  address(tensor) {
    const { storage, byteOffset } = tensor;
    return storage.address + byteOffset;
  }
  touch(tensor) {
    ;
    tensor.storage.version++;
  }
  unsupported(kernel, what) {
    throw new UnsupportedError("cpu", kernel, what);
  }
  /** The same kernels, cleaned up after: temporaries always, everything that was made when one throws. */
  cleaned(kernels, assertLive) {
    const cleaned = Object.entries(kernels).map(([name, kernel]) => {
      const run = kernel;
      return [
        name,
        (...args) => {
          assertLive(name);
          return this.call(name, args, () => run(...args));
        }
      ];
    });
    return Object.fromEntries(cleaned);
  }
  call(name, args, run) {
    const work = this.profile && kernelWork(name, args);
    const entry = work && this.profile?.entryOf(name, work.shape);
    const call = { made: [], temporaries: [], entry };
    this.calls.push(call);
    try {
      const result = run();
      if (entry) {
        entry.calls++;
        entry.flops += work.flops;
        entry.bytes += kernelBytes(name, args, result);
      }
      return result;
    } catch (error) {
      for (const tensor of call.made) tensor.dispose();
      throw error;
    } finally {
      for (const tensor of call.temporaries) tensor.dispose();
      this.calls.pop();
    }
  }
  measure() {
    const entry = this.calls.at(-1)?.entry;
    if (entry) this.engine.ring.measure(entry.slot);
  }
  make(shape, dtype) {
    const { allocator } = this.engine;
    const block = allocator.alloc(numel(shape) * bytesPerElement[dtype]);
    return new StridedTensor(this.backend, new CpuStorage(allocator, block), [...shape], dtype);
  }
};

// src/kernels/adamw.ts
function adamwKernels(ctx) {
  return {
    adamwStep(param, grad, expAvg, expAvgSq, options) {
      const problem5 = checkAdamwStep(ctx.backend, param, grad, expAvg, expAvgSq, options);
      const { lr, beta1, beta2, eps, weightDecay, step, gradScale, elements, dtype, stateDType } = problem5;
      for (const type of [dtype, grad.dtype, stateDType]) if (type !== "f32") ctx.unsupported("adamwStep", type);
      const gradient = ctx.contiguous(grad);
      for (const written of [param, expAvg, expAvgSq]) ctx.touch(written);
      ctx.run(
        "adamw_step",
        ...[param, gradient, expAvg, expAvgSq].map((tensor) => ctx.address(tensor)),
        elements,
        gradScale,
        beta1,
        1 - beta1,
        beta2,
        1 - beta2,
        1 - lr * weightDecay,
        lr / (1 - beta1 ** step),
        Math.sqrt(1 - beta2 ** step),
        eps
      );
    }
  };
}

// src/kernels/attention-problem.ts
var unlimited = 2 ** 40;
function problemArguments(ctx, problem5) {
  const { cuSeqlensQ, cuSeqlensK, windowLeft, windowRight, seed } = problem5;
  const args = [
    problem5.batchSize,
    problem5.seqlenQ,
    problem5.seqlenK,
    problem5.totalQ,
    problem5.totalK,
    problem5.nHeads,
    problem5.nHeadsK,
    problem5.headDim,
    problem5.headDimV,
    cuSeqlensQ ? ctx.address(ctx.upload(cuSeqlensQ)) : 0,
    cuSeqlensK ? ctx.address(ctx.upload(cuSeqlensK)) : 0,
    Math.min(windowLeft, unlimited),
    Math.min(windowRight, unlimited),
    problem5.causalTopLeft ? 1 : 0,
    problem5.softmaxScale,
    problem5.softcap
  ];
  pushBroadcast(args, ctx, problem5.alibiSlopes, 2);
  pushBroadcast(args, ctx, problem5.bias, 4);
  pushBlockMask(args, ctx, problem5.blockMask);
  args.push(problem5.dropoutThreshold, 1 / (1 - problem5.dropoutP), seed >>> 0, Math.floor(seed / 2 ** 32));
  return args;
}
function pushHeads(args, ctx, ...tensors) {
  for (const tensor of tensors) args.push(ctx.address(tensor));
  for (const { strides } of tensors) {
    const sequence = strides.length - 3;
    args.push(sequence > 0 ? strides[0] : 0, strides[sequence], strides[sequence + 1]);
  }
}
function pushSink(args, ctx, { sink }) {
  if (sink) args.push(ctx.address(sink), sink.strides[0]);
  else args.push(0, 0);
}
function pushBroadcast(args, ctx, option, axes) {
  args.push(option ? ctx.address(option.tensor) : 0);
  for (let axis = 0; axis < axes; axis++) args.push(option ? option.strides[axis] : 0);
}
function pushBlockMask(args, ctx, mask) {
  if (!mask) {
    args.push(0, 0, 0, 0, 0, 0, 0, 0);
    return;
  }
  const { kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits, batchSize, nHeads, seqlenQ, seqlenK, blockM: blockM2, blockN } = mask;
  const parts = [kvOffsets, kvBlocks, kvBits, qOffsets, qBlocks, bits];
  const all = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  const [nMBlocks, nNBlocks] = [Math.ceil(seqlenQ / blockM2), Math.ceil(seqlenK / blockN)];
  args.push(ctx.address(ctx.upload(all)), batchSize, nHeads, nMBlocks, nNBlocks, blockM2, blockN, kvBlocks.length);
}

// src/kernels/attention-workspace.ts
var keyPad = 64;
var dimPad = 16;
var blockM = 64;
var backwardBlockM = 64;
var backwardBlockN = 128;
var decodeSeqlenQ = 8;
var decodeRowsPerKeyHead = 32;
var decodeRowsFewKeys = 24;
var fewKeys = 512;
var decodeRows = 128;
var targetTasks = 16;
var decodeTargetTasks = 32;
var minKeysPerSplit = 1024;
var decodeMinKeysPerSplit = 512;
var padTo = (n, multiple) => Math.ceil(n / multiple) * multiple;
function attentionForwardKernel(problem5) {
  const { seqlenQ, seqlenK, nHeads, nHeadsK, dropoutP, blockMask } = problem5;
  const fewRows = seqlenK < fewKeys ? decodeRowsFewKeys : decodeRowsPerKeyHead;
  const few = seqlenQ <= decodeSeqlenQ || seqlenQ * nHeads / nHeadsK <= fewRows;
  return few && dropoutP === 0 && !blockMask ? "attention_decode" : "attention_forward";
}
function attentionForwardSplits(problem5) {
  const { nHeads, seqlenK } = problem5;
  if (attentionForwardKernel(problem5) === "attention_decode") {
    return splitsFor(decodeTasks(problem5), decodeTargetTasks, seqlenK, decodeMinKeysPerSplit);
  }
  return splitsFor(nHeads * queryBlocks(problem5, blockM), targetTasks, seqlenK, minKeysPerSplit);
}
function decodeTasks({ batchSize, nHeads, nHeadsK, seqlenQ }) {
  const rows2 = nHeads / nHeadsK * seqlenQ;
  if (rows2 === 0) return 0;
  const rowsPerTask = Math.min(rows2, decodeRows);
  const headsPerTask = Math.min(nHeadsK, Math.floor(decodeRows / rowsPerTask));
  return batchSize * Math.ceil(rows2 / rowsPerTask) * Math.ceil(nHeadsK / headsPerTask);
}
function splitsFor(tasks, target, seqlenK, minKeys) {
  if (tasks === 0 || tasks >= target) return 1;
  return Math.max(1, Math.min(Math.ceil(target / tasks), Math.floor(seqlenK / minKeys)));
}
function attentionForwardWorkspace(problem5) {
  const { nHeads, nHeadsK, seqlenQ, totalQ, headDim, headDimV } = problem5;
  const headDimVPad = padTo(headDimV, dimPad);
  const splits = attentionForwardSplits(problem5);
  const ownKeys = seqlenQ <= blockM && nHeads === nHeadsK && splits === 1;
  const unpacked = ownKeys || attentionForwardKernel(problem5) === "attention_decode";
  const packed = unpacked ? 0 : nHeadsK * keyBlocks(problem5, keyPad) * keyPad * (headDim + headDimVPad);
  const partial = splits > 1 ? splits * nHeads * totalQ * (headDimVPad + 2) : 0;
  return packed + partial;
}
function attentionBackwardWorkspace(problem5) {
  return problem5.nHeads * (problem5.totalQ + queryBlocks(problem5, backwardBlockM));
}
function optionGradientsWorkspace(problem5) {
  const { nHeads, optionGradients: optionGradients2, bias } = problem5;
  let floats = 0;
  if (optionGradients2.includes("alibiSlopes")) floats += nHeads * keyBlocks(problem5, backwardBlockN);
  if (optionGradients2.includes("sink")) floats += nHeads * queryBlocks(problem5, backwardBlockM);
  if (bias && optionGradients2.includes("bias")) floats += biasParts(problem5, bias.tensor.shape);
  return floats;
}
function biasParts({ batchSize, nHeads, seqlenQ, seqlenK }, shape) {
  const [perKey, perRow] = [(shape.at(-1) ?? 1) > 1, (shape.at(-2) ?? 1) > 1];
  if (!perRow || !perKey) return batchSize * nHeads * (perRow ? seqlenQ : seqlenK);
  return numel(shape.slice(0, -2)) * Math.ceil(seqlenQ / backwardBlockM) * Math.ceil(seqlenK / backwardBlockN);
}
function queryBlocks({ batchSize, seqlenQ, totalQ, cuSeqlensQ }, blockSize) {
  return cuSeqlensQ ? Math.floor(totalQ / blockSize) + batchSize : batchSize * Math.ceil(seqlenQ / blockSize);
}
function keyBlocks({ batchSize, seqlenK, totalK, cuSeqlensK }, blockSize) {
  return cuSeqlensK ? Math.floor(totalK / blockSize) + batchSize : batchSize * Math.ceil(seqlenK / blockSize);
}

// src/kernels/attention.ts
function attentionKernels(ctx) {
  return {
    attentionForward(q, k, v, options) {
      const problem5 = checkAttentionForward(ctx.backend, q, k, v, options);
      if (problem5.dtype !== "f32") ctx.unsupported("attentionForward", problem5.dtype);
      const out = ctx.empty(problem5.outShape);
      const lse = ctx.empty(problem5.lseShape);
      const floats = attentionForwardWorkspace(problem5);
      const args = problemArguments(ctx, problem5);
      pushHeads(args, ctx, q, k, v);
      args.push(ctx.address(out), ctx.address(lse), floats > 0 ? ctx.address(ctx.temporary([floats])) : 0);
      pushSink(args, ctx, problem5);
      args.push(attentionForwardSplits(problem5));
      ctx.run(attentionForwardKernel(problem5), ...args);
      return { out, lse };
    },
    attentionBackward(dout, q, k, v, out, lse, options) {
      const problem5 = checkAttentionBackward(ctx.backend, dout, q, k, v, out, lse, options);
      if (problem5.dtype !== "f32") ctx.unsupported("attentionBackward", problem5.dtype);
      const [dq, dk, dv] = [ctx.empty(q.shape), ctx.empty(k.shape), ctx.empty(v.shape)];
      const args = problemArguments(ctx, problem5);
      args.push(ctx.address(ctx.contiguous(lse)));
      pushHeads(args, ctx, dout, q, k, v, out);
      args.push(ctx.address(dq), ctx.address(dk), ctx.address(dv), ctx.address(ctx.temporary([attentionBackwardWorkspace(problem5)])));
      const gradients = pushOptionGradients(args, ctx, problem5);
      ctx.run("attention_backward", ...args);
      return { dq, dk, dv, ...gradients };
    }
  };
}
function pushOptionGradients(args, ctx, problem5) {
  const { optionGradients: wanted, alibiSlopes, bias, sink } = problem5;
  const dalibiSlopes = alibiSlopes && wanted.includes("alibiSlopes") ? ctx.empty(alibiSlopes.tensor.shape) : void 0;
  const dbias = bias && wanted.includes("bias") ? zeros(ctx, bias.tensor.shape) : void 0;
  const dsink = sink && wanted.includes("sink") ? ctx.empty(sink.shape) : void 0;
  args.push(dalibiSlopes ? ctx.address(dalibiSlopes) : 0, dalibiSlopes?.shape.length === 2 ? 1 : 0);
  args.push(dbias ? ctx.address(dbias) : 0, ...broadcastStrides(dbias));
  args.push(dsink ? ctx.address(dsink) : 0);
  pushSink(args, ctx, problem5);
  const floats = optionGradientsWorkspace(problem5);
  args.push(floats > 0 ? ctx.address(zeros(ctx, [floats], (shape) => ctx.temporary(shape))) : 0);
  return { ...dalibiSlopes && { dalibiSlopes }, ...dbias && { dbias }, ...dsink && { dsink } };
}
function zeros(ctx, shape, make = (of) => ctx.empty(of)) {
  const tensor = make(shape);
  ctx.run("memory_zero", ctx.address(tensor), 4 * numel(shape));
  return tensor;
}
function broadcastStrides(dbias) {
  if (!dbias) return [0, 0, 0, 0];
  const { shape } = dbias;
  const strides = contiguousStrides(shape).map((stride, axis) => shape[axis] > 1 ? stride : 0);
  return [...new Array(4 - shape.length).fill(0), ...strides];
}

// src/kernels/attention-inspection.ts
function attentionInspectionKernels(ctx) {
  const common = (kernel, problem5, q, k, lse) => {
    if (problem5.dtype !== "f32") ctx.unsupported(kernel, problem5.dtype);
    const args = problemArguments(ctx, problem5);
    pushHeads(args, ctx, q, k);
    args.push(ctx.address(ctx.contiguous(lse)));
    return args;
  };
  return {
    attentionRows(q, k, lse, rows2, options) {
      const problem5 = checkAttentionRows(ctx.backend, q, k, lse, rows2, options);
      const args = common("attentionRows", problem5, q, k, lse);
      const out = ctx.empty(problem5.rowsShape);
      ctx.run("memory_zero", ctx.address(out), 4 * numel(problem5.rowsShape));
      ctx.run("attention_rows", ...args, ctx.address(ctx.upload(problem5.rows)), problem5.rows.length, ctx.address(out));
      return out;
    },
    attentionColumnSums(q, k, lse, options) {
      const problem5 = checkAttentionColumnSums(ctx.backend, q, k, lse, options);
      const args = common("attentionColumnSums", problem5, q, k, lse);
      const out = ctx.empty(problem5.sumsShape);
      ctx.run("attention_column_sums", ...args, ctx.address(out));
      return out;
    },
    attentionTopK(q, k, lse, topK, options) {
      const problem5 = checkAttentionTopK(ctx.backend, q, k, lse, topK, options);
      const args = common("attentionTopK", problem5, q, k, lse);
      const probabilities = ctx.empty(problem5.topKShape);
      const indices = ctx.empty(problem5.topKShape, "i32");
      ctx.run("attention_top_k", ...args, topK, ctx.address(probabilities), ctx.address(indices));
      return { probabilities, indices };
    }
  };
}

// src/kernels/rows.ts
function asRows(ctx, tensor) {
  const stride = rowStride(tensor);
  if (stride === void 0) return asRows(ctx, ctx.contiguous(tensor));
  return { address: ctx.address(tensor), rows: numel(tensor.shape.slice(0, -1)), columns: tensor.shape.at(-1) ?? 1, stride };
}
function rowStride({ shape, strides }) {
  if (numel(shape) === 0) return shape.at(-1) ?? 1;
  let stride;
  let below = 1;
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    const size = shape[axis];
    if (size === 1) continue;
    stride ??= strides[axis];
    if (strides[axis] !== below * stride) return void 0;
    below *= size;
  }
  return stride ?? shape.at(-1) ?? 1;
}
function resultOf(ctx, shape, out) {
  if (out === void 0) return ctx.empty(shape);
  ctx.touch(out);
  return out;
}

// src/kernels/cast.ts
var typeCode = { f32: 0, f16: 1, bf16: 2 };
function castKernels(ctx) {
  return {
    cast(x, dtype) {
      const { outShape } = checkCast(ctx.backend, x, dtype);
      const [from, to] = [typeCode[x.dtype], typeCode[dtype]];
      if (from === void 0 || to === void 0) ctx.unsupported("cast", `${x.dtype} to ${dtype}`);
      const out = ctx.empty(outShape, dtype);
      const { address, rows: rows2, columns, stride } = asRows(ctx, x);
      ctx.run("cast", address, ctx.address(out), from, to, rows2, columns, stride);
      return out;
    }
  };
}

// src/kernels/axes.ts
function mergeAxes(axes) {
  const merged = [];
  for (const axis of axes) {
    if (axis.size === 1) continue;
    const outer = merged.at(-1);
    if (outer?.strides.every((stride, i) => stride === axis.size * axis.strides[i])) {
      merged[merged.length - 1] = { size: outer.size * axis.size, strides: axis.strides };
    } else {
      merged.push(axis);
    }
  }
  return merged;
}

// src/kernels/copy.ts
var copyAxes = 5;
function copyKernels(ctx) {
  return {
    copy(x, options = {}) {
      checkCopy(ctx.backend, x, options);
      const out = options.out ?? ctx.empty(x.shape, x.dtype);
      if (options.out) ctx.touch(out);
      const bytes = bytesPerElement[x.dtype];
      copyOver(ctx, axesOf(x, out), ctx.address(x), ctx.address(out), bytes);
      return out;
    }
  };
}
function axesOf(from, to) {
  const axes = from.shape.map((size, i) => ({ size, strides: [from.strides[i], to.strides[i]] }));
  const merged = mergeAxes(axes.sort((a, b) => b.strides[1] - a.strides[1]));
  const along = merged.findIndex(({ strides }) => strides[0] === 1);
  if (along >= 0 && along < merged.length - 2) merged.splice(-1, 0, ...merged.splice(along, 1));
  return merged;
}
function copyOver(ctx, axes, from, to, bytes) {
  const [outermost, ...inner] = axes;
  if (outermost && axes.length > copyAxes) {
    for (let i = 0; i < outermost.size; i++) {
      copyOver(ctx, inner, from + i * outermost.strides[0] * bytes, to + i * outermost.strides[1] * bytes, bytes);
    }
    return;
  }
  const padding = new Array(copyAxes - axes.length).fill({ size: 1, strides: [1, 1] });
  ctx.run("copy", from, to, bytes, ...[...padding, ...axes].flatMap(({ size, strides }) => [size, ...strides]));
}

// src/kernels/cross-entropy.ts
function crossEntropyKernels(ctx) {
  return {
    crossEntropyForward(logits, targets, options = {}) {
      const { rows: rows2, vocabSize, ignoreIndex, lossShape, lseShape, dtype } = checkCrossEntropyForward(ctx.backend, logits, targets, options);
      if (dtype !== "f32") ctx.unsupported("crossEntropyForward", dtype);
      const loss = ctx.empty(lossShape);
      const lse = ctx.empty(lseShape);
      const rowLosses = ctx.temporary([rows2]);
      const input = asRows(ctx, logits);
      ctx.run(
        "cross_entropy_forward",
        input.address,
        ...[ctx.contiguous(targets), loss, lse, rowLosses].map((tensor) => ctx.address(tensor)),
        rows2,
        vocabSize,
        input.stride,
        ignoreIndex
      );
      return { loss, lse };
    },
    crossEntropyBackward(dloss, logits, targets, lse, options = {}) {
      const problem5 = checkCrossEntropyBackward(ctx.backend, dloss, logits, targets, lse, options);
      const { rows: rows2, vocabSize, ignoreIndex, logitsShape, dtype } = problem5;
      if (dtype !== "f32") ctx.unsupported("crossEntropyBackward", dtype);
      const dlogits = resultOf(ctx, logitsShape, options.out);
      const input = asRows(ctx, logits);
      ctx.run(
        "cross_entropy_backward",
        ctx.address(dloss),
        input.address,
        ...[ctx.contiguous(targets), ctx.contiguous(lse), dlogits].map((tensor) => ctx.address(tensor)),
        rows2,
        vocabSize,
        input.stride,
        vocabSize,
        ignoreIndex
      );
      return dlogits;
    }
  };
}

// src/kernels/elementwise.ts
function elementwiseKernels(ctx) {
  return {
    add(a, b, options = {}) {
      const problem5 = checkAdd(ctx.backend, a, b, options);
      if (problem5.dtype !== "f32") ctx.unsupported("add", problem5.dtype);
      return runElementwise(ctx, "add", problem5, [a, b], options.out);
    },
    scale(x, factor, options = {}) {
      const problem5 = checkScale(ctx.backend, x, factor, options);
      if (problem5.dtype !== "f32") ctx.unsupported("scale", problem5.dtype);
      return runElementwise(ctx, "scale", problem5, [x], options.out, factor);
    }
  };
}
function runElementwise(ctx, name, { outShape }, inputs, out, ...rest) {
  const result = resultOf(ctx, outShape, out);
  const rows2 = inputs.map((input) => asRows(ctx, input));
  const shape = asRows(ctx, result);
  ctx.run(
    name,
    ...rows2.map(({ address }) => address),
    shape.address,
    shape.rows,
    shape.columns,
    ...rows2.map(({ stride }) => stride),
    shape.stride,
    ...rest
  );
  return result;
}

// src/kernels/embedding.ts
function embeddingKernels(ctx) {
  return {
    embeddingForward(tokens, weight) {
      const problem5 = checkEmbeddingForward(ctx.backend, tokens, weight);
      if (problem5.dtype !== "f32") ctx.unsupported("embeddingForward", problem5.dtype);
      const out = ctx.empty(problem5.outShape);
      const table = asRows(ctx, weight);
      ctx.run(
        "embedding_forward",
        ctx.address(ctx.contiguous(tokens)),
        table.address,
        ctx.address(out),
        problem5.tokens,
        problem5.channels,
        table.stride,
        problem5.vocabSize
      );
      return out;
    },
    embeddingBackward(dout, tokens, vocabSize, options = {}) {
      const problem5 = checkEmbeddingBackward(ctx.backend, dout, tokens, vocabSize, options);
      if (problem5.dtype !== "f32") ctx.unsupported("embeddingBackward", problem5.dtype);
      const dweight = resultOf(ctx, problem5.outShape, options.accumulateInto);
      const grad = asRows(ctx, dout);
      ctx.run(
        "embedding_backward",
        grad.address,
        ctx.address(ctx.contiguous(tokens)),
        ctx.address(dweight),
        problem5.tokens,
        problem5.channels,
        grad.stride,
        vocabSize,
        Number(options.accumulateInto !== void 0)
      );
      return dweight;
    }
  };
}

// src/kernels/gelu.ts
function geluKernels(ctx) {
  return {
    geluForward(x, options = {}) {
      const problem5 = checkGeluForward(ctx.backend, x, options);
      if (problem5.dtype !== "f32") ctx.unsupported("geluForward", problem5.dtype);
      return runElementwise(ctx, "gelu_forward", problem5, [x], options.out);
    },
    geluBackward(dout, x, options = {}) {
      const problem5 = checkGeluBackward(ctx.backend, dout, x, options);
      if (problem5.dtype !== "f32") ctx.unsupported("geluBackward", problem5.dtype);
      return runElementwise(ctx, "gelu_backward", problem5, [dout, x], options.out);
    }
  };
}

// src/kernels/gemm.ts
function gemmKernels(ctx) {
  return {
    matmul(a, b, options = {}) {
      const problem5 = checkMatmul(ctx.backend, a, b, options);
      if (problem5.dtype !== "f32") ctx.unsupported("matmul", problem5.dtype);
      const { bias, preActivation, accumulateInto } = options;
      const out = resultOf(ctx, problem5.outShape, accumulateInto);
      if (preActivation) ctx.touch(preActivation);
      const layout = layoutOf(ctx, a, b, problem5);
      ctx.run(
        "gemm",
        ctx.address(layout.a),
        ctx.address(layout.b),
        ctx.address(out),
        bias ? ctx.address(bias) : 0,
        preActivation ? ctx.address(preActivation) : 0,
        layout.m,
        problem5.n,
        problem5.k,
        layout.lda,
        layout.b.strides.at(-2),
        Number(problem5.transposeA),
        Number(problem5.transposeB),
        problem5.alpha,
        Number(accumulateInto !== void 0),
        Number(problem5.activation === "gelu"),
        ...layout.axes.flatMap(({ size, strides }) => [size, strides[0], strides[1]])
      );
      return out;
    }
  };
}
var batchAxes = 3;
function layoutOf(ctx, a, b, { m, sharedB, transposeA }) {
  const lda = a.strides.at(-2);
  const leading = a.shape.slice(0, -2).map((size, i) => {
    return { size, strides: [a.strides[i], sharedB ? 0 : b.strides[i]] };
  });
  if (sharedB && !transposeA) {
    const rows2 = mergeAxes([...leading, { size: m, strides: [lda, 0] }]);
    if (rows2.length <= 1) return { a, b, m: rows2[0]?.size ?? 1, lda: rows2[0]?.strides[0] ?? lda, axes: padded([]) };
  }
  const axes = mergeAxes(leading);
  if (axes.length > batchAxes) {
    return layoutOf(ctx, ctx.contiguous(a), sharedB ? b : ctx.contiguous(b), { m, sharedB, transposeA });
  }
  return { a, b, m, lda, axes: padded(axes) };
}
function padded(axes) {
  return [...new Array(batchAxes - axes.length).fill({ size: 1, strides: [0, 0] }), ...axes];
}

// src/kernels/column-parts.ts
function columnParts(rows2) {
  return Math.max(1, Math.min(64, Math.ceil(rows2 / 64)));
}

// src/kernels/layer-norm.ts
function layerNormKernels(ctx) {
  return {
    layerNormForward(x, weight, bias, options = {}) {
      const { rows: rows2, channels, outShape, statShape, dtype, eps } = checkLayerNormForward(ctx.backend, x, weight, bias, options);
      if (dtype !== "f32") ctx.unsupported("layerNormForward", dtype);
      const out = ctx.empty(outShape);
      const mean = ctx.empty(statShape);
      const rstd = ctx.empty(statShape);
      const input = asRows(ctx, x);
      ctx.run(
        "layer_norm_forward",
        input.address,
        ...[weight, bias, out, mean, rstd].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        input.stride,
        eps
      );
      return { out, mean, rstd };
    },
    layerNormBackward(dout, x, weight, mean, rstd, options = {}) {
      const { rows: rows2, channels, outShape, dtype } = checkLayerNormBackward(ctx.backend, dout, x, weight, mean, rstd, options);
      if (dtype !== "f32") ctx.unsupported("layerNormBackward", dtype);
      const { dweightInto, dbiasInto } = options;
      const dx = ctx.empty(outShape);
      const dweight = resultOf(ctx, [channels], dweightInto);
      const dbias = resultOf(ctx, [channels], dbiasInto);
      const parts = columnParts(rows2);
      const partial = ctx.temporary([parts, 2 * channels]);
      const grad = asRows(ctx, dout);
      const input = asRows(ctx, x);
      ctx.run(
        "layer_norm_backward",
        grad.address,
        input.address,
        ...[weight, ctx.contiguous(mean), ctx.contiguous(rstd), dx, dweight, dbias, partial].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        grad.stride,
        input.stride,
        parts,
        Number(dweightInto !== void 0),
        Number(dbiasInto !== void 0)
      );
      return { dx, dweight, dbias };
    }
  };
}

// src/kernels/linear-cross-entropy.ts
function linearCrossEntropyKernels(ctx) {
  return {
    linearCrossEntropyForward(x, weight, targets, options = {}) {
      const problem5 = checkLinearCrossEntropyForward(ctx.backend, x, weight, targets, options);
      const { rows: rows2, channels, vocabSize, ignoreIndex, lossShape, lseShape, dtype } = problem5;
      if (dtype !== "f32") ctx.unsupported("linearCrossEntropyForward", dtype);
      const loss = ctx.empty(lossShape);
      const lse = ctx.empty(lseShape);
      const rowLosses = ctx.temporary([rows2]);
      const chunkRows = logitsChunkRows(rows2, vocabSize);
      const logits = ctx.temporary([chunkRows, vocabSize]);
      const input = asRows(ctx, x);
      const table = asRows(ctx, weight);
      ctx.run(
        "linear_cross_entropy_forward",
        input.address,
        table.address,
        ...[ctx.contiguous(targets), loss, lse, rowLosses, logits].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        vocabSize,
        input.stride,
        table.stride,
        chunkRows,
        ignoreIndex
      );
      return { loss, lse };
    },
    linearCrossEntropyBackward(dloss, x, weight, targets, lse, options = {}) {
      const problem5 = checkLinearCrossEntropyBackward(ctx.backend, dloss, x, weight, targets, lse, options);
      const { rows: rows2, channels, vocabSize, ignoreIndex, dtype } = problem5;
      if (dtype !== "f32") ctx.unsupported("linearCrossEntropyBackward", dtype);
      const dx = ctx.empty(x.shape);
      const dweight = resultOf(ctx, weight.shape, options.dweightInto);
      const chunkRows = logitsChunkRows(rows2, vocabSize);
      const logits = ctx.temporary([chunkRows, vocabSize]);
      const input = asRows(ctx, x);
      const table = asRows(ctx, weight);
      ctx.run(
        "linear_cross_entropy_backward",
        ctx.address(dloss),
        input.address,
        table.address,
        ...[ctx.contiguous(targets), ctx.contiguous(lse), dx, dweight, logits].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        vocabSize,
        input.stride,
        table.stride,
        chunkRows,
        ignoreIndex,
        Number(options.dweightInto !== void 0)
      );
      return { dx, dweight };
    }
  };
}
function logitsChunkRows(rows2, vocabSize) {
  const floats = 2 ** 21;
  return Math.max(1, Math.min(rows2, Math.max(256, Math.min(1024, Math.floor(floats / vocabSize)))));
}

// src/kernels/rms-norm.ts
function rmsNormKernels(ctx) {
  return {
    rmsNormForward(x, weight, options = {}) {
      const { rows: rows2, channels, outShape, statShape, dtype, eps } = checkRmsNormForward(ctx.backend, x, weight, options);
      if (dtype !== "f32") ctx.unsupported("rmsNormForward", dtype);
      const out = ctx.empty(outShape);
      const rstd = ctx.empty(statShape);
      const input = asRows(ctx, x);
      ctx.run(
        "rms_norm_forward",
        input.address,
        ...[weight, out, rstd].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        input.stride,
        eps
      );
      return { out, rstd };
    },
    rmsNormBackward(dout, x, weight, rstd, options = {}) {
      const { rows: rows2, channels, outShape, dtype } = checkRmsNormBackward(ctx.backend, dout, x, weight, rstd, options);
      if (dtype !== "f32") ctx.unsupported("rmsNormBackward", dtype);
      const dx = ctx.empty(outShape);
      const dweight = resultOf(ctx, [channels], options.dweightInto);
      const parts = columnParts(rows2);
      const partial = ctx.temporary([parts, channels]);
      const grad = asRows(ctx, dout);
      const input = asRows(ctx, x);
      ctx.run(
        "rms_norm_backward",
        grad.address,
        input.address,
        ...[weight, ctx.contiguous(rstd), dx, dweight, partial].map((tensor) => ctx.address(tensor)),
        rows2,
        channels,
        grad.stride,
        input.stride,
        parts,
        Number(options.dweightInto !== void 0)
      );
      return { dx, dweight };
    }
  };
}

// src/kernels/rope.ts
function ropeKernels(ctx) {
  return {
    ropeForward(x, cos, sin, options = {}) {
      const problem5 = checkRopeForward(ctx.backend, x, cos, sin, options);
      if (problem5.dtype !== "f32") ctx.unsupported("ropeForward", problem5.dtype);
      return rotate(ctx, problem5, x, cos, sin, 1);
    },
    ropeBackward(dout, cos, sin, options = {}) {
      const problem5 = checkRopeBackward(ctx.backend, dout, cos, sin, options);
      if (problem5.dtype !== "f32") ctx.unsupported("ropeBackward", problem5.dtype);
      return rotate(ctx, problem5, dout, cos, sin, -1);
    }
  };
}
function rotate(ctx, problem5, x, cos, sin, sign) {
  const { batchSize, seqlen, nHeads, headDim, rotaryDim, positionOffset, outShape } = problem5;
  const out = ctx.empty(outShape);
  ctx.run(
    "rope",
    ...[x, cos, sin, out].map((tensor) => ctx.address(tensor)),
    batchSize,
    seqlen,
    nHeads,
    headDim,
    rotaryDim / 2,
    ...x.strides.slice(0, 3),
    cos.strides[0],
    sin.strides[0],
    positionOffset,
    sign
  );
  return out;
}

// src/kernels/softmax.ts
function softmaxKernels(ctx) {
  return {
    softmaxForward(x, options = {}) {
      const { rows: rows2, seqlenQ, seqlenK, scale, causal, outShape, dtype } = checkSoftmaxForward(ctx.backend, x, options);
      if (dtype !== "f32") ctx.unsupported("softmaxForward", dtype);
      const out = resultOf(ctx, outShape, options.out);
      const input = asRows(ctx, x);
      ctx.run("softmax_forward", input.address, ctx.address(out), rows2, seqlenQ, seqlenK, input.stride, seqlenK, scale, Number(causal));
      return out;
    },
    softmaxBackward(dout, out, options = {}) {
      const { rows: rows2, seqlenK, scale, outShape, dtype } = checkSoftmaxBackward(ctx.backend, dout, out, options);
      if (dtype !== "f32") ctx.unsupported("softmaxBackward", dtype);
      const dx = resultOf(ctx, outShape, options.out);
      const grad = asRows(ctx, dout);
      const output = asRows(ctx, out);
      ctx.run("softmax_backward", grad.address, output.address, ctx.address(dx), rows2, seqlenK, grad.stride, output.stride, seqlenK, scale);
      return dx;
    }
  };
}

// src/kernels/sum-rows.ts
function sumRowsKernels(ctx) {
  return {
    sumRows(x, options = {}) {
      const { rows: rows2, columns, outShape, dtype } = checkSumRows(ctx.backend, x, options);
      if (dtype !== "f32") ctx.unsupported("sumRows", dtype);
      const out = resultOf(ctx, outShape, options.accumulateInto);
      const parts = columnParts(rows2);
      const partial = ctx.temporary([parts, columns]);
      const input = asRows(ctx, x);
      ctx.run(
        "sum_rows",
        input.address,
        ctx.address(out),
        ctx.address(partial),
        rows2,
        columns,
        input.stride,
        parts,
        Number(options.accumulateInto !== void 0)
      );
      return out;
    }
  };
}

// src/kernels/sum-squares.ts
var blockElements = 1024;
function sumSquaresKernels(ctx) {
  return {
    sumSquares(x, options = {}) {
      const { elements, outShape, dtype } = checkSumSquares(ctx.backend, x, options);
      if (dtype !== "f32") ctx.unsupported("sumSquares", dtype);
      const out = resultOf(ctx, outShape, options.accumulateInto);
      const input = asRows(ctx, x);
      const flat = input.stride === input.columns;
      const rows2 = flat ? 1 : input.rows;
      const columns = flat ? elements : input.columns;
      const partial = ctx.temporary([rows2 * Math.ceil(columns / blockElements)]);
      ctx.run(
        "sum_squares",
        input.address,
        ctx.address(out),
        ctx.address(partial),
        rows2,
        columns,
        input.stride,
        Number(options.accumulateInto !== void 0)
      );
      return out;
    }
  };
}

// src/kernels/swiglu.ts
function swigluKernels(ctx) {
  return {
    swigluForward(gate, up, options = {}) {
      const problem5 = checkSwigluForward(ctx.backend, gate, up, options);
      if (problem5.dtype !== "f32") ctx.unsupported("swigluForward", problem5.dtype);
      return runElementwise(ctx, "swiglu_forward", problem5, [gate, up], options.out);
    },
    swigluBackward(dout, gate, up) {
      const { outShape, dtype } = checkSwigluBackward(ctx.backend, dout, gate, up);
      if (dtype !== "f32") ctx.unsupported("swigluBackward", dtype);
      const dgate = ctx.empty(outShape);
      const dup = ctx.empty(outShape);
      const inputs = [dout, gate, up].map((input) => asRows(ctx, input));
      const { rows: rows2, columns } = asRows(ctx, dup);
      ctx.run(
        "swiglu_backward",
        ...inputs.map(({ address }) => address),
        ctx.address(dgate),
        ctx.address(dup),
        rows2,
        columns,
        ...inputs.map(({ stride }) => stride)
      );
      return { dgate, dup };
    }
  };
}

// src/kernels/index.ts
function createKernels(ctx) {
  return {
    ...attentionKernels(ctx),
    ...attentionInspectionKernels(ctx),
    ...gemmKernels(ctx),
    ...sumRowsKernels(ctx),
    ...layerNormKernels(ctx),
    ...rmsNormKernels(ctx),
    ...softmaxKernels(ctx),
    ...geluKernels(ctx),
    ...swigluKernels(ctx),
    ...embeddingKernels(ctx),
    ...ropeKernels(ctx),
    ...crossEntropyKernels(ctx),
    ...linearCrossEntropyKernels(ctx),
    ...elementwiseKernels(ctx),
    ...castKernels(ctx),
    ...copyKernels(ctx),
    ...adamwKernels(ctx),
    ...sumSquaresKernels(ctx)
  };
}

// src/backend.ts
var CpuBackend = class {
  constructor(info, engine) {
    this.info = info;
    this.engine = engine;
    this.runner = new KernelRunner(this, engine);
    this.context = this.runner;
    this.kernels = this.runner.cleaned(createKernels(this.runner), (fn) => this.assertLive(fn));
  }
  info;
  engine;
  scopes = new ScopeStack();
  kernels;
  /** For kernels of one's own making and for measurements. */
  context;
  runner;
  disposing;
  tensor(data, shape, dtype) {
    this.assertLive("tensor");
    const elements = toElements(data, shape, dtype);
    const block = this.engine.allocator.alloc(elements.array.byteLength, true);
    this.engine.write(block.address, bytesOf(elements.array));
    return new StridedTensor(this, new CpuStorage(this.engine.allocator, block), [...shape], elements.dtype);
  }
  empty(shape, dtype = "f32") {
    this.assertLive("empty");
    checkShape2("empty", shape);
    return this.runner.empty(shape, dtype);
  }
  zeros(shape, dtype = "f32") {
    this.assertLive("zeros");
    checkShape2("zeros", shape);
    const tensor = this.runner.empty(shape, dtype);
    this.runner.run("memory_zero", this.runner.address(tensor), numel(shape) * bytesPerElement[dtype]);
    return tensor;
  }
  async readTensor(tensor) {
    this.assertLive("read");
    const array = arrayOf(tensor.dtype, numel(tensor.shape));
    const source = isContiguous(tensor.shape, tensor.strides) ? tensor : this.kernels.copy(tensor);
    const reading = this.engine.read(this.runner.address(source), bytesOf(array));
    if (source !== tensor) source.dispose();
    await reading;
    return array;
  }
  async sync() {
    this.assertLive("sync");
    await this.engine.ring.fence();
  }
  /** Bytes of live tensors and the engine's own scratch memory (2 MiB per thread). Free blocks kept for reuse are not counted. */
  memory() {
    return this.engine.allocator.memory();
  }
  resetPeakMemory() {
    this.engine.allocator.resetPeak();
  }
  scope(fn) {
    return this.scopes.run(fn);
  }
  keep(tensor) {
    this.scopes.untrack(tensor);
    return tensor;
  }
  /**
   * Measures every kernel enqueued from now on, until stopProfile(): time stamps around each command on the thread that runs them, and nothing
   * while no profile is on. Waits for what was enqueued before.
   */
  async startProfile() {
    await this.sync();
    this.engine.ring.setProfiling(true);
    this.runner.profile = new ProfileEntries(this.engine.kernels, this.engine.ring.profileSlots);
  }
  /** Waits for pending work and returns what was measured since startProfile(), by kernel and shape, the longest first. */
  async stopProfile() {
    await this.sync();
    this.engine.ring.setProfiling(false);
    const entries = this.runner.profile;
    this.runner.profile = void 0;
    return entries?.profiles((slot) => this.engine.ring.profileOf(slot)) ?? /* @__PURE__ */ new Map();
  }
  dispose() {
    this.disposing ??= this.engine.dispose();
    return this.disposing;
  }
  assertLive(fn) {
    if (this.disposing) throw new DisposedError(fn, "the cpu backend");
  }
};

// src/node.ts
var isNode = typeof process !== "undefined" && typeof process.versions?.node === "string";
function importNode(name) {
  return import(
    /* @vite-ignore */
    /* webpackIgnore: true */
    `node:${name}`
  );
}

// src/machine.ts
async function describeMachine() {
  if (!isNode) {
    return {
      device: "browser",
      parallelism: globalThis.navigator?.hardwareConcurrency ?? 1,
      memoryBytes: Number.POSITIVE_INFINITY
    };
  }
  const os = await importNode("os");
  const cores = os.availableParallelism();
  const limit = process.constrainedMemory?.() ?? 0;
  const memoryBytes = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem();
  return {
    device: os.cpus()[0]?.model.trim() || process.arch,
    parallelism: Math.max(1, Math.min(cores, await quotaOfContainer())),
    memoryBytes
  };
}
async function quotaOfContainer() {
  const { readFile } = await importNode("fs/promises");
  const read = (file) => readFile(file, "utf8").catch(() => "");
  const [quota, period] = (await read("/sys/fs/cgroup/cpu.max")).split(/\s+/);
  const v1 = (name) => read(`/sys/fs/cgroup/cpu/cpu.cfs_${name}_us`);
  const cores = quota ? Number(quota) / Number(period) : Number(await v1("quota")) / Number(await v1("period"));
  return cores > 0 ? Math.ceil(cores) : Number.POSITIVE_INFINITY;
}

// src/allocator.ts
var ALIGNMENT = 64;
var CACHE_FACTOR = 1.25;
var CACHE_BYTES = 64 * 2 ** 20;
var Allocator = class {
  /**
   * @param ownBytes Held by the engine itself all the time and counted with the tensors.
   * @param maxBytes Live and cached bytes together never exceed this.
   */
  constructor(source, queue, ownBytes, maxBytes) {
    this.source = source;
    this.queue = queue;
    this.maxBytes = maxBytes;
    this.live = ownBytes;
    this.peak = ownBytes;
  }
  source;
  queue;
  maxBytes;
  live;
  peak;
  cachedBytes = 0;
  closed = false;
  classes = /* @__PURE__ */ new Map();
  /** All cached blocks in the order of freeing. */
  cached = /* @__PURE__ */ new Set();
  /** @throws OutOfMemoryError */
  alloc(bytes, idle = false) {
    const size = sizeClass(bytes);
    const block = this.takeCached(size, idle) ?? this.reserve(size, idle);
    if (!block) throw new OutOfMemoryError("cpu", bytes, this.live);
    this.live += block.bytes;
    this.peak = Math.max(this.peak, this.live);
    return block;
  }
  free(block) {
    if (this.closed) return;
    block.lastUse = this.queue.submitted;
    this.live -= block.bytes;
    this.cachedBytes += block.bytes;
    this.cached.add(block);
    const blocks = this.classes.get(block.bytes);
    if (blocks) blocks.push(block);
    else this.classes.set(block.bytes, [block]);
  }
  /** The engine has freed all memory: what is freed from now on needs nothing. */
  close() {
    this.closed = true;
    this.live = 0;
  }
  /** Bytes of live blocks and the engine's own; cached ones do not count. */
  memory() {
    return { bytes: this.live, peakBytes: this.peak };
  }
  /** Bytes that are held and not in use. */
  get cacheBytes() {
    return this.cachedBytes;
  }
  resetPeak() {
    this.peak = this.live;
    this.trimTo(this.bound());
  }
  /** The block that was freed last, whose lines may still be in cache; or, to be idle, the one freed first. */
  takeCached(size, idle) {
    const blocks = this.classes.get(size);
    const block = idle ? blocks?.[0] : blocks?.at(-1);
    if (!blocks || !block || idle && block.lastUse > this.queue.completed) return void 0;
    if (idle) blocks.shift();
    else blocks.pop();
    this.forget(block);
    return block;
  }
  reserve(size, idle) {
    this.trimTo(Math.min(this.bound(), this.maxBytes) - size);
    if (this.live + this.cachedBytes + size > this.maxBytes) return void 0;
    const block = this.source.reserve(size, idle);
    if (block) return block;
    this.trimTo(0);
    this.source.settle();
    return this.source.reserve(size, idle);
  }
  /** What live and cached bytes together may be. */
  bound() {
    return this.peak * CACHE_FACTOR + CACHE_BYTES;
  }
  /** Gives cached blocks back until live and cached bytes are at most `total`, or none is cached. */
  trimTo(total) {
    for (const block of this.cached) {
      if (this.live + this.cachedBytes <= total) return;
      const blocks = this.classes.get(block.bytes);
      blocks?.splice(blocks.indexOf(block), 1);
      this.forget(block);
      this.source.release(block);
    }
  }
  forget(block) {
    this.cached.delete(block);
    this.cachedBytes -= block.bytes;
  }
};
function sizeClass(bytes) {
  if (bytes <= ALIGNMENT) return ALIGNMENT;
  const step = Math.max(ALIGNMENT, 2 ** (Math.floor(Math.log2(bytes)) - 3));
  return Math.ceil(bytes / step) * step;
}

// src/command-ring.ts
var TAIL = 0;
var STOP = 1;
var PROFILING = 2;
var HEAD = 16;
var COMPLETED = 17;
var SLEEPING = 18;
var PROFILE = 16;
var PROFILE_SLOTS = 128;
var RING = PROFILE + 2 * PROFILE_SLOTS;
var RING_LENGTH = 1 << 16;
var controlBytes = (RING + RING_LENGTH) * 8;
var OPERATION = { wrap: -1, fence: -2, release: -3, tell: -4, measure: -5 };
var RESERVE = 16;
var ROOM = -2;
var CommandRing = class {
  constructor(host) {
    this.host = host;
  }
  host;
  /** Commands submitted so far, those in the backlog included. */
  submitted = 0;
  ints;
  doubles;
  tail = 0;
  backlog = [];
  askedForRoom = false;
  waiters = /* @__PURE__ */ new Map();
  nextFence = 1;
  failure;
  /** Says where the CommandControl lies; again when the memory has moved. `offset` is a multiple of 64. */
  attach(buffer, offset) {
    this.ints = new Int32Array(buffer, offset, controlBytes / 4);
    this.doubles = new Float64Array(buffer, offset, controlBytes / 8);
  }
  /** Commands done so far. */
  get completed() {
    return this.submitted - (this.submitted - Atomics.load(this.ints, COMPLETED) >>> 0);
  }
  get idle() {
    return this.completed === this.submitted;
  }
  /** Enqueues the kernel of that index in the table. */
  kernel(index, args) {
    this.submit(index, args);
  }
  /** Gives memory back to the system when everything before is done. */
  release(address, bytes) {
    this.submit(OPERATION.release, [address, bytes]);
  }
  /** Resolves when everything submitted so far is done. */
  fence() {
    if (this.failure) return Promise.reject(this.failure);
    if (this.idle) return Promise.resolve();
    const id = this.nextFence++;
    return new Promise((resolve, reject) => {
      if (this.waiters.size === 0) this.host.hold(true);
      this.waiters.set(id, { resolve, reject });
      this.submit(OPERATION.fence, [id]);
    });
  }
  /** The executor passed a fence. */
  onFence(id) {
    if (id === ROOM) {
      this.askedForRoom = false;
      this.flush();
      return;
    }
    const waiter = this.waiters.get(id);
    this.waiters.delete(id);
    if (this.waiters.size === 0) this.host.hold(false);
    waiter?.resolve();
  }
  /** Everything that waits, and will, rejects with `error`. */
  fail(error) {
    this.failure ??= error;
    if (this.waiters.size > 0) this.host.hold(false);
    for (const waiter of this.waiters.values()) waiter.reject(error);
    this.waiters.clear();
    this.backlog.length = 0;
  }
  /** Tells the executor to run nothing more. */
  stop() {
    Atomics.store(this.ints, STOP, 1);
    Atomics.add(this.ints, TAIL, 1);
    this.host.wake();
  }
  /** The time of the next command goes to this slot of the profile instead of its kernel's. Only while profiling. */
  measure(slot) {
    this.submit(OPERATION.measure, [slot]);
  }
  /** Slots of the profile; the first are those of the kernels. */
  get profileSlots() {
    return PROFILE_SLOTS;
  }
  setProfiling(on) {
    if (on) this.doubles.fill(0, PROFILE, RING);
    Atomics.store(this.ints, PROFILING, on ? 1 : 0);
  }
  /** Commands and milliseconds of that slot since setProfiling(true). */
  profileOf(slot) {
    const at = PROFILE + 2 * slot;
    return { calls: this.doubles[at], milliseconds: this.doubles[at + 1] };
  }
  submit(operation, args) {
    if (this.failure) throw this.failure;
    this.submitted++;
    if (this.backlog.length > 0) this.flush();
    if (this.backlog.length > 0 || !this.write(operation, args, RESERVE)) {
      this.backlog.push([operation, ...args]);
      this.askForRoom();
    }
  }
  flush() {
    let done = 0;
    for (const [operation, ...args] of this.backlog) {
      if (!this.write(operation, args, RESERVE)) break;
      done++;
    }
    this.backlog.splice(0, done);
    if (this.backlog.length > 0) this.askForRoom();
  }
  askForRoom() {
    if (this.askedForRoom) return;
    this.askedForRoom = true;
    this.write(OPERATION.tell, [ROOM], 0);
  }
  /** False if fewer than `reserve` elements would stay free. */
  write(operation, args, reserve) {
    const length = args.length + 2;
    const at = this.tail % RING_LENGTH;
    const gap = at + length > RING_LENGTH ? RING_LENGTH - at : 0;
    const used = this.tail - Atomics.load(this.ints, HEAD) >>> 0;
    if (used + gap + length + reserve > RING_LENGTH) return false;
    if (gap > 0) this.doubles[RING + at] = OPERATION.wrap;
    const start = RING + (this.tail + gap) % RING_LENGTH;
    this.doubles[start] = operation;
    this.doubles[start + 1] = length;
    for (let i = 0; i < args.length; i++) this.doubles[start + 2 + i] = args[i];
    this.tail += gap + length;
    Atomics.store(this.ints, TAIL, this.tail | 0);
    if (this.host.inline || Atomics.load(this.ints, SLEEPING) !== 0) this.host.wake();
    return true;
  }
};
function disposedError(fn) {
  return new DisposedError(fn, "the cpu backend");
}

// src/native.ts
var STOPPED = -1;
var here = import.meta.url;
async function createNativeEngine(options, isa) {
  const addon = await loadAddon();
  const chosen = isa === void 0 ? addon.isas[0] : addon.isas.find(({ name }) => name === isa);
  if (!chosen) {
    const available = addon.isas.map(({ name }) => name).join(", ");
    throw new DeviceError(`createCpuBackend: isa must be one that this processor runs (${available}), got ${isa}`);
  }
  return new NativeEngine(addon, chosen.name, chosen.lanes, options);
}
async function loadAddon() {
  if (!isNode) throw new DeviceError("the native addon needs Node");
  const [{ createRequire }, { existsSync, readFileSync }] = await Promise.all([importNode("module"), importNode("fs")]);
  const { fileURLToPath } = await importNode("url");
  const folder = fileURLToPath(new URL(`../build/native/${process.platform}-${process.arch}/`, here));
  const file = `${folder}tilegrad.node`;
  if (!existsSync(file)) {
    const reason = existsSync(`${folder}reason.txt`) ? readFileSync(`${folder}reason.txt`, "utf8").trim() : `no build for ${process.platform}-${process.arch}`;
    throw new DeviceError(`native addon not built: ${reason}`);
  }
  try {
    return createRequire(here)(file);
  } catch (error) {
    throw new DeviceError(`native addon does not load: ${error.message}`);
  }
}
var NativeEngine = class {
  constructor(addon, isa, lanes, options) {
    this.isa = isa;
    this.lanes = lanes;
    this.threads = options.threads;
    this.kernels = addon.kernels;
    this.copy = addon.kernels.indexOf("memory_copy");
    const control = new ArrayBuffer(controlBytes + 64);
    this.addon = new addon.Engine(isa, options.threads, control, (id) => id === STOPPED ? this.stopped?.() : this.ring.onFence(id));
    this.ring = new CommandRing({
      wake: () => this.addon.wake(),
      inline: false,
      hold: (waiting) => waiting ? this.addon.ref() : this.addon.unref()
    });
    this.ring.attach(control, this.addon.controlOffset);
    this.allocator = new Allocator(this, this.ring, addon.scratchBytes * options.threads, options.maxBytes);
  }
  isa;
  lanes;
  runtime = "native";
  threads;
  kernels;
  ring;
  allocator;
  addon;
  copy;
  stopped;
  write(address, data) {
    this.addon.write(address, data);
  }
  async read(address, into) {
    if (this.ring.idle) {
      this.addon.read(address, into);
      return;
    }
    this.ring.kernel(this.copy, [this.addon.addressOf(into), address, into.byteLength]);
    await this.ring.fence();
  }
  reserve(bytes) {
    const address = this.addon.reserve(bytes);
    return address === 0 ? void 0 : { address, bytes, lastUse: 0 };
  }
  release(block) {
    this.ring.release(block.address, block.bytes);
  }
  settle() {
    this.addon.waitUntilIdle();
  }
  async dispose() {
    this.addon.ref();
    const stopped = new Promise((resolve) => {
      this.stopped = resolve;
    });
    this.ring.stop();
    await stopped;
    this.addon.close();
    this.allocator.close();
    this.ring.fail(disposedError("read"));
  }
};

// src/wasm-heap.ts
var PAGE = 65536;
var GROWTH = 16 * 2 ** 20;
var WasmHeap = class {
  /** @param grown Called after the memory has grown, when old views may have become useless. */
  constructor(start, memory, queue, grown) {
    this.memory = memory;
    this.queue = queue;
    this.grown = grown;
    const end = memory.buffer.byteLength;
    if (end > start) this.ranges.push({ address: start, bytes: end - start, lastUse: 0 });
  }
  memory;
  queue;
  grown;
  /** Free ranges, by address. */
  ranges = [];
  reserve(bytes, idle) {
    const fits2 = (range) => range.bytes >= bytes && !(idle && range.lastUse > this.queue.completed);
    const find = () => {
      let best = -1;
      for (let i = 0; i < this.ranges.length; i++) {
        const range = this.ranges[i];
        if (fits2(range) && (best < 0 || range.bytes < this.ranges[best].bytes)) best = i;
      }
      return best;
    };
    let index = find();
    if (index < 0) {
      if (!this.grow(bytes, idle)) return void 0;
      index = find();
    }
    return this.cut(index, bytes);
  }
  release({ address, bytes }) {
    this.insert({ address, bytes, lastUse: this.queue.submitted });
  }
  settle() {
  }
  cut(index, bytes) {
    const { address, bytes: size, lastUse } = this.ranges[index];
    if (size === bytes) this.ranges.splice(index, 1);
    else this.ranges[index] = { address: address + bytes, bytes: size - bytes, lastUse };
    return { address, bytes, lastUse };
  }
  insert(block) {
    let index = this.ranges.findIndex(({ address }) => address > block.address);
    if (index < 0) index = this.ranges.length;
    const before = this.ranges[index - 1];
    const after = this.ranges[index];
    let merged = block;
    let from = index;
    let count = 0;
    if (before && before.address + before.bytes === merged.address) {
      merged = join(before, merged);
      from--;
      count++;
    }
    if (after && merged.address + merged.bytes === after.address) {
      merged = join(merged, after);
      count++;
    }
    this.ranges.splice(from, count, merged);
  }
  grow(bytes, idle) {
    const end = this.memory.buffer.byteLength;
    const last = this.ranges.at(-1);
    const extendsLast = last && last.address + last.bytes === end && !(idle && last.lastUse > this.queue.completed);
    const needed = extendsLast ? bytes - last.bytes : bytes;
    const pages = [Math.max(needed, GROWTH), needed].map((size) => Math.ceil(size / PAGE));
    if (!pages.some((count) => this.tryGrow(count))) return false;
    const fresh = { address: end, bytes: this.memory.buffer.byteLength - end, lastUse: 0 };
    if (last && !extendsLast && last.address + last.bytes === end) this.ranges.push(fresh);
    else this.insert(fresh);
    this.grown();
    return true;
  }
  tryGrow(pages) {
    try {
      this.memory.grow(pages);
      return true;
    } catch {
      return false;
    }
  }
};
function join(first, second) {
  return { address: first.address, bytes: first.bytes + second.bytes, lastUse: Math.max(first.lastUse, second.lastUse) };
}

// src/wasm-module.ts
var zero = [65, 0, 253, 15];
var relaxedMultiplyAdd = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0],
  ...[1, 5, 1, 96, 0, 1, 123],
  ...[3, 2, 1, 0],
  ...[10, 19, 1, 17, 0, ...zero, ...zero, ...zero, 253, 133, 2, 11]
);
function wasmIsas() {
  return WebAssembly.validate(relaxedMultiplyAdd) ? ["relaxed-simd", "simd128"] : ["simd128"];
}
var urls = {
  "relaxed-simd": {
    threads: () => new URL("../build/wasm/tilegrad-threads-relaxed.wasm", import.meta.url),
    single: () => new URL("../build/wasm/tilegrad-single-relaxed.wasm", import.meta.url)
  },
  simd128: {
    threads: () => new URL("../build/wasm/tilegrad-threads.wasm", import.meta.url),
    single: () => new URL("../build/wasm/tilegrad-single.wasm", import.meta.url)
  }
};
async function compileModule(isa, variant) {
  const url = urls[isa][variant]();
  try {
    if (isNode && url.protocol === "file:") {
      const { readFile } = await importNode("fs/promises");
      return await WebAssembly.compile(await readFile(url));
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (error) {
    throw new DeviceError(
      `createCpuBackend: the WebAssembly module ${url.pathname.split("/").pop()} does not load (${error.message}); it must lie in build/wasm of @tilegrad/kernels-cpu (npm run build makes it), and the engine must support WebAssembly SIMD`,
      { cause: error }
    );
  }
}
function instantiate(module, memory, fence) {
  const env = { memory, fence, milliseconds: () => performance.now() };
  return new WebAssembly.Instance(module, { env }).exports;
}
function createMemory(shared) {
  const maxima = [65535, 32768, 16384];
  for (const maximum of maxima) {
    try {
      return new WebAssembly.Memory({ initial: 64, maximum, shared });
    } catch (error) {
      if (maximum === maxima.at(-1)) throw new DeviceError(`createCpuBackend: no memory for WebAssembly: ${error.message}`);
    }
  }
  throw new DeviceError("createCpuBackend: no memory for WebAssembly");
}
function kernelNames(exports, memory) {
  const bytes = new Uint8Array(memory.buffer);
  return Array.from({ length: exports.kernel_count() }, (_, index) => {
    const start = exports.kernel_name(index);
    return String.fromCharCode(...bytes.slice(start, bytes.indexOf(0, start)));
  });
}

// src/wasm-workers.ts
var here2 = import.meta.url;
async function startWorker(receive) {
  return isNode ? startNodeWorker(receive) : startPageWorker(receive);
}
async function startNodeWorker(receive) {
  const { Worker: Worker2 } = await importNode("worker_threads");
  const worker = new Worker2(new URL("./wasm-worker.js", here2), { execArgv: [] });
  worker.on("message", receive);
  worker.on("error", (error) => receive({ error: String(error) }));
  return {
    post: (message) => worker.postMessage(message),
    hold: (waiting) => waiting ? worker.ref() : worker.unref(),
    terminate: async () => {
      await worker.terminate();
    }
  };
}
function startPageWorker(receive) {
  const worker = new Worker(new URL("./wasm-worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = ({ message }) => receive({ error: message ?? "the worker did not load" });
  return {
    post: (message) => worker.postMessage(message),
    hold: () => {
    },
    terminate: async () => worker.terminate()
  };
}

// src/wasm.ts
var STACK_BYTES = 256 * 1024;
var ALIGNMENT2 = 64;
async function createWasmEngine(options, isa = wasmIsas()[0]) {
  const reason = whyNoSharing();
  const inline = reason !== void 0 || isNode && options.threads === 1;
  const threads = inline ? 1 : options.threads;
  const module = await compileModule(isa, inline ? "single" : "threads");
  const memory = createMemory(!inline);
  const engine = new WasmEngine(isa, module, memory, inline, { ...options, threads }, options.threads > 1 ? reason : void 0);
  await engine.start();
  return engine;
}
function whyNoSharing() {
  if (isNode) return void 0;
  if (globalThis.crossOriginIsolated !== true) return "the page is not cross-origin isolated";
  return typeof SharedArrayBuffer === "undefined" ? "no SharedArrayBuffer" : void 0;
}
var WasmEngine = class {
  constructor(isa, module, memory, inline, options, note) {
    this.isa = isa;
    this.module = module;
    this.memory = memory;
    this.inline = inline;
    this.note = note;
    const exports = instantiate(module, memory, (id) => this.ring.onFence(id));
    this.threads = options.threads;
    this.lanes = exports.lanes();
    this.kernels = kernelNames(exports, memory);
    this.copy = this.kernels.indexOf("memory_copy");
    const control = Math.ceil(exports.__heap_base.value / ALIGNMENT2) * ALIGNMENT2;
    this.stacks = Math.ceil((control + controlBytes) / ALIGNMENT2) * ALIGNMENT2;
    const scratch = this.stacks + (inline ? 0 : STACK_BYTES * this.threads);
    const scratchBytes = exports.scratch_bytes() * this.threads;
    const start = scratch + scratchBytes;
    if (start > memory.buffer.byteLength) memory.grow(Math.ceil((start - memory.buffer.byteLength) / 65536));
    this.ring = new CommandRing({
      wake: inline ? () => exports.drain() : () => Atomics.notify(new Int32Array(memory.buffer, control, 1), 0),
      inline,
      hold: (waiting) => this.workers[0]?.hold(waiting)
    });
    const attach = () => this.ring.attach(memory.buffer, control);
    attach();
    exports.init(control, scratch, this.threads);
    const heap = new WasmHeap(start, memory, this.ring, attach);
    this.allocator = new Allocator(heap, this.ring, scratchBytes, Math.min(options.maxBytes, 2 ** 32));
  }
  isa;
  module;
  memory;
  inline;
  note;
  runtime = "wasm";
  lanes;
  threads;
  kernels;
  ring;
  allocator;
  copy;
  stacks;
  workers = [];
  /** Starts the workers and waits until they run. */
  async start() {
    if (this.inline) return;
    const starting = Array.from({ length: this.threads }, (_, worker) => this.startWorker(worker));
    try {
      await Promise.all(starting);
    } catch (error) {
      await this.dispose();
      throw error;
    }
    for (const worker of this.workers) worker.hold(false);
  }
  startWorker(index) {
    return new Promise((resolve, reject) => {
      const receive = ({ ready, fence, error }) => {
        if (fence !== void 0) this.ring.onFence(fence);
        if (ready) resolve();
        if (error !== void 0) {
          const failure = new DeviceError(`cpu: WebAssembly worker ${index} failed: ${error}`);
          this.ring.fail(failure);
          reject(failure);
        }
      };
      const stackTop = this.stacks + STACK_BYTES * (index + 1);
      startWorker(receive).then((worker) => {
        this.workers[index] = worker;
        worker.post({ module: this.module, memory: this.memory, worker: index, stackTop });
      }, reject);
    });
  }
  write(address, data) {
    new Uint8Array(this.memory.buffer, address, data.byteLength).set(data);
  }
  async read(address, into) {
    if (this.ring.idle) {
      this.copyOut(address, into);
      return;
    }
    const staging = this.allocator.alloc(into.byteLength);
    try {
      this.ring.kernel(this.copy, [staging.address, address, into.byteLength]);
      await this.ring.fence();
      this.copyOut(staging.address, into);
    } finally {
      this.allocator.free(staging);
    }
  }
  async dispose() {
    this.ring.stop();
    await Promise.all(this.workers.map((worker) => worker.terminate()));
    this.allocator.close();
    this.ring.fail(disposedError("read"));
  }
  copyOut(address, into) {
    into.set(new Uint8Array(this.memory.buffer, address, into.byteLength));
  }
};

// src/create.ts
async function createBackend(options, isa) {
  const { runtime = "auto" } = options;
  if (!["auto", "native", "wasm"].includes(runtime))
    throw new ArgumentError("createCpuBackend", "runtime must be 'auto', 'native' or 'wasm'", runtime);
  const machine = await describeMachine();
  const threads = options.threads ?? machine.parallelism;
  if (!Number.isInteger(threads) || threads < 1 || threads > 256) {
    throw new ArgumentError("createCpuBackend", "threads must be an integer in 1..256", `${options.threads}`);
  }
  const maxBytes = options.maxBytes ?? machine.memoryBytes * 0.875;
  if (!(maxBytes > 0)) throw new ArgumentError("createCpuBackend", "maxBytes must be > 0", `${maxBytes}`);
  const engineOptions = { threads, maxBytes };
  if (runtime === "wasm") return backendOf(await createWasmEngine(engineOptions, isa), machine);
  try {
    return backendOf(await createNativeEngine(engineOptions, isa), machine);
  } catch (error) {
    if (!(error instanceof DeviceError) || isa !== void 0) throw error;
    if (runtime === "native") throw nativeMissing(error);
    return backendOf(await createWasmEngine(engineOptions), machine, error.message);
  }
}
function backendOf(engine, { device }, whyNotNative) {
  const { runtime, isa, threads, note } = engine;
  const reason = [whyNotNative, note].filter((text) => text !== void 0).join("; ");
  const info = {
    name: "cpu",
    device,
    driver: `${runtime} ${isa}, ${threads} ${threads === 1 ? "thread" : "threads"}${reason ? ` (${reason})` : ""}`,
    features: { runtime, isa, threads, ...reason ? { reason } : {} }
  };
  return new CpuBackend(info, engine);
}
function nativeMissing(error) {
  return new DeviceError(
    [
      `createCpuBackend: runtime 'native' is not available: ${error.message}`,
      "Possible fixes:",
      "- build it: npm run build in @tilegrad/kernels-cpu, with a C++ compiler, make and python3 installed",
      "- check that the addon was built for this operating system, processor and C library",
      "- use runtime 'auto' or 'wasm', which need no addon"
    ].join("\n"),
    { cause: error }
  );
}

// src/measure-peak.ts
var accumulators = 12;
var runs = 7;
var secondsPerRun = 0.015;
async function measurePeak(backend) {
  const { context } = backend;
  const { threads, lanes } = context;
  const sink = backend.empty([threads]);
  const seconds = async (rounds) => {
    await backend.sync();
    const start = performance.now();
    context.run("fma_peak", threads, rounds, context.address(sink));
    await backend.sync();
    return (performance.now() - start) / 1e3;
  };
  try {
    let rounds = 1e4;
    for (let time = await seconds(rounds); time < secondsPerRun; time = await seconds(rounds)) {
      rounds = Math.ceil(rounds * Math.min(10, Math.max(1.5, 1.1 * secondsPerRun / time)));
    }
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < runs; run++) best = Math.min(best, await seconds(rounds));
    return { flopsPerSecond: 2 * accumulators * lanes * rounds * threads / best, threads, isa: String(backend.info.features.isa) };
  } finally {
    sink.dispose();
  }
}

// src/index.ts
function createCpuBackend(options = {}) {
  return createBackend(options, options.isa);
}
export {
  createCpuBackend,
  measurePeak
};
