import { InvalidArgumentError } from 'commander'

/** Parsers of flags' values, for commander. */
export function integer(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected an integer from 1.')
  return value
}

export function integers(text: string): number[] {
  return text.split(',').map(integer)
}
