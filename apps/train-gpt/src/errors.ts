/** A command line, config file or data file that cannot be used as given. Exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A run that could not go on; what it had saved is intact. Exit code 1. */
export class RunError extends Error {
  override readonly name = 'RunError'
}

/** The device is gone in mid-run, and all that was on it: another one can go on from the last checkpoint. */
export class DeviceLostError extends Error {
  override readonly name = 'DeviceLostError'
}

/** Exit code of a second Ctrl-C, as shells count it: 128 + SIGINT. */
export const INTERRUPTED = 130

const fileCauses: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'is not permitted for this user',
  EPERM: 'is not permitted for this user',
  EROFS: 'is on a read-only disk',
  EISDIR: 'is a folder; name the files in it',
  ENOTDIR: 'has a file where a folder should be',
  ENOSPC: 'is on a full disk; free some space',
  EDQUOT: "is over this user's disk quota; free some space",
  EFBIG: 'is over the largest file size allowed here',
}

/** Whether `error` comes from the file system and not from a mistake in this program. */
export function isFileError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string' && 'errno' in error
}

/** `cannot write runs/a/metrics.jsonl: it is on a full disk; free some space`. */
export function describeFileError(action: string, path: string, error: NodeJS.ErrnoException): string {
  const cause = fileCauses[error.code as string]
  return `cannot ${action} ${path}: ${cause ? `it ${cause}` : error.message}`
}

/** What the process prints, in one line, and exits with. What nobody foresaw is shown with its stack. */
export function describeError(error: unknown): { message: string; exitCode: number } {
  const exitCode = error instanceof UsageError ? 2 : 1
  if (isFileError(error)) return { message: describeFileError('use', error.path ?? 'a file', error), exitCode }
  if (!(error instanceof Error)) return { message: String(error), exitCode }
  if (isMistake(error)) return { message: `this is a mistake in train-gpt: ${error.stack}`, exitCode }
  const hint = error.name === 'OutOfMemoryError' ? OUT_OF_MEMORY_HINT : ''
  return { message: error.message.replace(/\s*\n\s*/g, ' ').trim() + hint, exitCode }
}

/** Whether nobody foresaw this error. */
export function isMistake(error: unknown): boolean {
  return error instanceof Error && MISTAKES.has(error.name)
}

const MISTAKES = new Set(['TypeError', 'ReferenceError', 'SyntaxError', 'RangeError'])
const OUT_OF_MEMORY_HINT =
  '; use a shorter --context, a smaller --batch, --checkpoint-activations, or --attention flash instead of standard'
