import type { AttentionShape } from '../problem'

export type OnnxOperator = 'MultiHeadAttention' | 'GroupQueryAttention'

/**
 * The smallest ONNX model around one of onnxruntime's attention operators (domain com.microsoft), as protobuf bytes.
 * Field numbers are those of onnx.proto3; inputs and outputs are [batchSize, seqlen, nHeads·headDim].
 */
export function onnxModel(operator: OnnxOperator, { batchSize, seqlenQ, seqlenK, nHeads, headDim, causal }: AttentionShape): Uint8Array {
  const hidden = nHeads * headDim
  const grouped = operator === 'GroupQueryAttention'
  const floats = (name: string, seqlen: number) => valueInfo(name, elementType.float, [batchSize, seqlen, hidden])
  const attributes = [attribute('num_heads', nHeads)]
  // GroupQueryAttention is causal by definition.
  if (grouped) attributes.push(attribute('kv_num_heads', nHeads))
  else attributes.push(attribute('unidirectional', causal ? 1 : 0))
  // An empty name leaves an optional input out: past_key and past_value.
  const inputs = grouped ? ['q', 'k', 'v', '', '', 'seqlens_k', 'total_sequence_length'] : ['q', 'k', 'v']
  const outputs = grouped ? ['out', 'present_key', 'present_value'] : ['out']
  const node = [
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, operator),
    ...attributes.map((bytes) => message(5, bytes)),
    text(7, 'com.microsoft'),
  ].flat()
  const graphInputs = [floats('q', seqlenQ), floats('k', seqlenK), floats('v', seqlenK)]
  const graphOutputs = [floats('out', seqlenQ)]
  if (grouped) {
    graphInputs.push(valueInfo('seqlens_k', elementType.int32, [batchSize]), valueInfo('total_sequence_length', elementType.int32, [1]))
    for (const name of ['present_key', 'present_value']) {
      graphOutputs.push(valueInfo(name, elementType.float, [batchSize, nHeads, seqlenK, headDim]))
    }
  }
  const graph = [
    message(1, node),
    text(2, 'attention'),
    ...graphInputs.map((bytes) => message(11, bytes)),
    ...graphOutputs.map((bytes) => message(12, bytes)),
  ].flat()
  const opset = (domain: string, version: number) => message(8, [...text(1, domain), ...integer(2, version)])
  return Uint8Array.from([...integer(1, irVersion), ...message(7, graph), ...opset('', 17), ...opset('com.microsoft', 1)])
}

const irVersion = 8
const elementType = { float: 1, int32: 6 }
const integerAttribute = 2

function attribute(name: string, value: number): number[] {
  return [...text(1, name), ...integer(3, value), ...integer(20, integerAttribute)]
}

function valueInfo(name: string, type: number, shape: readonly number[]): number[] {
  const dimensions = shape.flatMap((size) => message(1, integer(1, size)))
  const tensorType = [...integer(1, type), ...message(2, dimensions)]
  return [...text(1, name), ...message(2, message(1, tensorType))]
}

// Protobuf's wire format: a key (field number and type), then a varint, or a length and bytes.

function integer(field: number, value: number): number[] {
  return [...varint(field << 3), ...varint(value)]
}

function message(field: number, bytes: readonly number[]): number[] {
  return [...varint((field << 3) | 2), ...varint(bytes.length), ...bytes]
}

function text(field: number, value: string): number[] {
  return message(field, [...new TextEncoder().encode(value)])
}

function varint(value: number): number[] {
  const bytes = []
  let rest = value
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128)
  return [...bytes, rest]
}
