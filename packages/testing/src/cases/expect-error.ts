/** Names of the typed errors; they are compared by name, as across package versions. */
export type ErrorName =
  | 'ArgumentError'
  | 'BackendMismatchError'
  | 'DTypeError'
  | 'DisposedError'
  | 'ShapeError'
  | 'TilegradError'
  | 'UnsupportedError'

const SAYS_WHAT_IT_GOT: readonly ErrorName[] = ['ArgumentError', 'DTypeError', 'ShapeError']

/** Throws unless `call` throws that error, with a message of one line that names the function, what was expected and what was got. */
export function expectError(name: ErrorName, call: () => unknown): void {
  try {
    call()
  } catch (error) {
    judge(name, error, String(call))
    return
  }
  throw new Error(`expected ${name}, but nothing was thrown by ${call}`)
}

export async function expectReject(name: ErrorName, promise: Promise<unknown>): Promise<void> {
  try {
    await promise
  } catch (error) {
    judge(name, error, 'the promise')
    return
  }
  throw new Error(`expected a rejection with ${name}, but it was fulfilled`)
}

function judge(name: ErrorName, error: unknown, what: string): void {
  const { name: got, message } = error as Error
  if (got !== name) throw new Error(`expected ${name} from ${what}, got ${got}: ${message}`, { cause: error })
  if (message === '' || message.includes('\n')) throw new Error(`the message must be one line, got ${JSON.stringify(message)}`)
  const complete = !SAYS_WHAT_IT_GOT.includes(name) || /^[a-z]\w*(\(\))?: .+, got .+$/i.test(message)
  if (!complete) throw new Error(`the message must say 'function: what was expected, got …', not ${JSON.stringify(message)}`)
}
