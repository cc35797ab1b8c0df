// What each key receives, and the most probable keys of each query. See core-math/src/attention-inspection.ts.

@group(0) @binding(0) var<storage, read> q: array<Element>;
@group(0) @binding(1) var<storage, read> k: array<Element>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> heads: array<f32>;
@group(0) @binding(5) var<storage, read> tables: array<i32>;
/// Sums of columns, or the probabilities of topK: scores while the rows are being searched.
@group(0) @binding(6) var<storage, read_write> result: array<f32>;
@group(0) @binding(7) var<storage, read_write> indices: array<i32>;

/// An invocation owns a key, and adds the rows that see it, in order, four at a time.
@compute @workgroup_size(64)
fn attentionColumnSums(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= u32(params.seqlenK)) {
    return;
  }
  let head = pairHead(id.z / params.nHeads, id.z % params.nHeads);
  let j = i32(id.x);
  let last = head.sequence.seqlenQ - 1;
  let visited = visitedQueries(head.sequence, j, j + 1);
  let runs = runsOfKeys(head.b, head.h, j);
  var sum = 0.0;
  for (var number = runs.begin; number < runs.end; number++) {
    let run = queriesOfRun(number, visited, 4);
    for (var i = run.begin; i < run.end; i += 4) {
      let scores = scoresOfRows(head, run.bits, i, j);
      for (var e = 0; e < 4; e++) {
        sum += pairProbability(scores[e], lseAt(head, min(i + e, last)));
      }
    }
  }
  result[id.z * u32(params.seqlenK) + id.x] = sum;
}

/// An invocation owns a row, and keeps its best keys sorted where they are returned. params.nMBlocks is topK.
@compute @workgroup_size(64)
fn attentionTopK(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= u32(params.seqlenQ)) {
    return;
  }
  let head = pairHead(id.z / params.nHeads, id.z % params.nHeads);
  let i = i32(id.x);
  let topK = params.nMBlocks;
  let first = (id.z * u32(params.seqlenQ) + id.x) * topK;
  var found = 0u;
  let visited = visitedKeys(head.sequence, i, i + 1);
  let runs = runsOfRows(head.b, head.h, i);
  for (var number = runs.begin; number < runs.end; number++) {
    let run = keysOfRun(number, visited, 4);
    for (var j = run.begin; j < run.end; j += 4) {
      let scores = scoresOfKeys(head, run.bits, i, j);
      for (var e = 0; e < 4; e++) {
        let score = scores[e];
        if (score <= LOWEST || (found == topK && score <= result[first + topK - 1u])) {
          continue;
        }
        var place = min(found, topK - 1u);
        while (place > 0u && result[first + place - 1u] < score) {
          result[first + place] = result[first + place - 1u];
          indices[first + place] = indices[first + place - 1u];
          place--;
        }
        result[first + place] = score;
        indices[first + place] = j + e;
        found = min(found + 1u, topK);
      }
    }
  }
  // 6. P = exp(S − lse) of the best; 0 and −1 where the row sees fewer keys
  for (var n = 0u; n < topK; n++) {
    if (n < found) {
      result[first + n] = pairProbability(result[first + n], lseAt(head, i));
    } else {
      result[first + n] = 0.0;
      indices[first + n] = -1;
    }
  }
}
