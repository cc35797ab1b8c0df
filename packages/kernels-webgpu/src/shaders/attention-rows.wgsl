// Probabilities of chosen query rows: an invocation owns a key. See attentionRows in core-math/src/attention-inspection.ts.

@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
@group(0) @binding(6) var<storage, read> rows: array<i32>;
@group(0) @binding(7) var<storage, read_write> probabilities: array<f32>;

@compute @workgroup_size(64)
fn attentionRows(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= u32(params.seqlenK)) {
    return;
  }
  let head = pairHead(id.z / params.nHeads, id.z % params.nHeads);
  let i = rows[id.y];
  let at = (id.z * params.nMBlocks + id.y) * u32(params.seqlenK) + id.x;
  probabilities[at] = pairProbability(pairScore(head, i, i32(id.x)), lseAt(head, i));
}
