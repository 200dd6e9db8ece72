/** UUIDs in every spelling that mdevctl takes, and its words for the others. */

const HYPHENATED = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const SIMPLE = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/i
const URN = 'urn:uuid:'
/** Digits of each group. */
const GROUPS = [8, 4, 4, 4, 12]

/**
 * The lower-case form with hyphens of a UUID that is written so, without hyphens, in braces or behind `urn:uuid:`;
 * undefined for anything else.
 */
export function uuidOf(text: string): string | undefined {
  const [, ...groups] = SIMPLE.exec(text) ?? []
  const { body } = unwrapped(text)
  const uuid = groups.length > 0 ? groups.join('-') : body
  return HYPHENATED.test(uuid) ? uuid.toLowerCase() : undefined
}

/** What is wrong with it. @see the Rust crate uuid 1.x, its Error */
export function uuidFault(text: string): string {
  const { body, offset } = unwrapped(text)
  const bad = /[^0-9a-f-]/iu.exec(body)
  if (bad !== null) {
    const at = offset + Buffer.byteLength(body.slice(0, bad.index)) + 1
    return `invalid character: expected an optional prefix of \`urn:uuid:\` followed by [0-9a-fA-F-], found \`${bad[0]}\` at ${at}`
  }
  const groups = body.split('-')
  if (groups.length === 1 && offset === 0)
    return `invalid length: expected length 32 for simple format, found ${text.length}`
  if (groups.length !== GROUPS.length)
    return `invalid group count: expected ${GROUPS.length}, found ${groups.length}`
  const wrong = groups.findIndex((group, index) => group.length !== GROUPS[index])
  return `invalid group length in group ${wrong}: expected ${GROUPS[wrong]}, found ${groups[wrong]?.length}`
}

/** What stands in braces or behind `urn:uuid:`, and where it begins. */
function unwrapped(text: string): { readonly body: string; readonly offset: number } {
  if (text.startsWith('{') && text.endsWith('}')) return { body: text.slice(1, -1), offset: 1 }
  if (text.startsWith(URN)) return { body: text.slice(URN.length), offset: URN.length }
  return { body: text, offset: 0 }
}
