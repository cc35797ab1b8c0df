import { type AttentionPattern, checkPattern, PATTERN_TYPES } from '@tilegrad/transformer'

/** How --pattern is written. */
export const PATTERN_SYNTAX = `TYPE[:field=n,…][/TYPE…] with a type among ${PATTERN_TYPES.map(kebab).join(', ')}`

/**
 * `window:size=256` → one pattern for all layers; `local-global:window=256,global-tokens=16/dense` → the layers take them in turn.
 * @throws Error that says what was expected.
 */
export function parsePatterns(text: string): AttentionPattern[] {
  return text.split('/').map((part) => {
    const [type = '', list] = part.split(/:(.*)/s)
    const fields = list === undefined ? [] : list.split(',').map(parseField)
    const pattern = { type: camel(type), ...Object.fromEntries(fields) } as AttentionPattern
    checkPattern(pattern)
    return pattern
  })
}

function parseField(text: string): [string, number] {
  const [, name, value] = /^([a-z-]+)=(\d+)$/.exec(text) ?? []
  if (name === undefined) throw new Error(`expected ${PATTERN_SYNTAX}, got '${text}' as a field`)
  return [camel(name), Number(value)]
}

function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, c: string) => c.toUpperCase())
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
}
