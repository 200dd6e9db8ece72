/** JSON as mdevctl prints it: two blanks, no newline at the end, and listings nested by parent. */

export function prettyJson(value: unknown): string {
  return JSON.stringify(value, undefined, 2)
}

/**
 * A listing: an array of one object, from each parent to its entries, in their order; `[]` where there is no parent.
 *
 * Put together as text, because an object's keys that look like numbers would not stay in order.
 */
export function jsonByParent(parents: ReadonlyMap<string, readonly object[]>): string {
  if (parents.size === 0) return '[]'
  const members = [...parents].map(
    ([name, entries]) => `${JSON.stringify(name)}: ${prettyJson(entries)}`,
  )
  const lines = members.join(',\n').split('\n')
  return `[\n  {\n${lines.map((line) => `    ${line}`).join('\n')}\n  }\n]`
}
