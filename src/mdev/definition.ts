/** A definition: an mdev as it is to be made, in mdevctl's own file format. */
import { ErrnoError } from '../lib/errno.ts'
import { jsonFault } from '../lib/json-fault.ts'
import type { AttributeTexts } from './attribute.ts'

export interface Definition {
  /** As in sysfs: `mtty-2`. Nobody has to offer it yet. */
  readonly type: string
  /** 'auto': whenever its parent is there. */
  readonly start: 'auto' | 'manual'
  /** In the order in which they are written at start. */
  readonly attributes: AttributeTexts
  /** Keys of others than mdevctl, kept as they are. */
  readonly others?: Readonly<Record<string, unknown>>
}

/**
 * Reads a definition. What mdevctl takes is taken, and what it refuses is refused in its words.
 *
 * @param json the text of a file, or what was parsed from one
 * @throws EINVAL
 * @see mdevctl 1.4, src/mdev.rs, load_from_json()
 */
export function parseDefinition(json: unknown): Definition {
  const given = typeof json === 'string' ? parseJson(json) : json
  if (!isObject(given)) throw refusal('invalid json')
  const { mdev_type: type, start, attrs, ...others } = given
  if ((type ?? null) === null || (start ?? null) === null) throw refusal('invalid json')
  if (typeof type !== 'string') throw refusal('invalid json: mdev_type is no text') // where mdevctl panics
  return {
    type,
    start: start === 'auto' ? 'auto' : 'manual',
    attributes: parseAttrs(attrs ?? []),
    ...(Object.keys(others).length > 0 ? { others } : {}),
  }
}

/** The text of its file: two blanks, and no newline at the end, as mdevctl writes it. */
export function formatDefinition(definition: Definition): string {
  return JSON.stringify(definitionJson(definition), undefined, 2)
}

/** The same as an object. */
export function definitionJson({ type, start, attributes, others }: Definition): object {
  return {
    mdev_type: type,
    start,
    attrs: attributes.map(([name, text]) => ({ [name]: text })),
    ...others,
  }
}

function parseAttrs(attrs: unknown): AttributeTexts {
  if (!Array.isArray(attrs)) throw refusal('attributes field is not an array')
  return attrs.map((entry: unknown) => {
    if (!isObject(entry)) throw refusal('invalid JSON format for attribute: not an object')
    const [pair, ...rest] = Object.entries(entry)
    if (pair === undefined || rest.length > 0)
      throw refusal('invalid JSON format for attribute: too many fields')
    const [name, text] = pair
    if (typeof text !== 'string') {
      const shown = `{"${name}", ${JSON.stringify(text)}}`
      throw refusal(`invalid JSON format for attribute ${shown}: value must be of type str`)
    }
    return [name, text] as const
  })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new ErrnoError('EINVAL', jsonFault(text) ?? 'no JSON', { cause: error })
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refusal(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
