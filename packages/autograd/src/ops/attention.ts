import type { AttentionOptions } from '@tilegrad/tensor'
import type { Recorder } from '../recorder'
import type { Variable } from '../variable'

/** Exact tiled attention: saves out and lse, never an Sq × Sk array. */
export function attention(tape: Recorder, q: Variable, k: Variable, v: Variable, options: AttentionOptions = {}): Variable {
  const { kernels } = tape.backend
  const [qt, kt, vt] = [tape.use('attention', q), tape.use('attention', k), tape.use('attention', v)]
  const { out, lse } = kernels.attentionForward(qt, kt, vt, options)
  const result = tape.record('attention', [q, k, v], out, (save) => {
    const [savedQ, savedK, savedV, savedOut, savedLse] = [save(qt), save(kt), save(vt), save(out), save(lse)]
    return (context) => {
      const { dq, dk, dv } = kernels.attentionBackward(
        context.dout,
        savedQ.tensor,
        savedK.tensor,
        savedV.tensor,
        savedOut.tensor,
        savedLse.tensor,
        options,
      )
      context.receive(0, dq)
      context.receive(1, dk)
      context.receive(2, dv)
    }
  })
  lse.dispose()
  return result
}
