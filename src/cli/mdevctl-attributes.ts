/** Attributes of a definition as mdevctl shows and edits them. */
import type { AttributeTexts } from '../http/model.ts'
import { Refusal } from './mdevctl-refusal.ts'

/** The list that `list -v` prints; nothing where there are none. */
export function attributesText(attributes: AttributeTexts): string {
  if (attributes.length === 0) return ''
  const lines = attributes.map(([name, text], at) => `    @{${at}}: {"${name}":"${text}"}\n`)
  return `  Attrs:\n${lines.join('')}`
}

/**
 * With one more: the last, or before that at `index`.
 *
 * @param uuid whose they are, for the message
 * @throws Refusal `index` is beyond the end
 */
export function withAttribute(
  attributes: AttributeTexts,
  attribute: AttributeTexts[number],
  uuid: string,
  index = attributes.length,
): AttributeTexts {
  if (index > attributes.length) throw badIndex(index, attributes, uuid)
  return attributes.toSpliced(index, 0, attribute)
}

/**
 * Without the last, if there is one, or that at `index`.
 *
 * @param uuid whose they are, for the message
 * @throws Refusal there is none at `index`
 */
export function withoutAttribute(
  attributes: AttributeTexts,
  uuid: string,
  index?: number,
): AttributeTexts {
  if (index === undefined) return attributes.slice(0, -1)
  if (index >= attributes.length) throw badIndex(index, attributes, uuid)
  return attributes.toSpliced(index, 1)
}

function badIndex(index: number, attributes: AttributeTexts, uuid: string): Refusal {
  const hint = attributesText(attributes) || `Device ${uuid} has no attributes`
  return new Refusal(`Attribute index ${index} is invalid\n${hint}`)
}
