/** XML as libvirt has it: attributes of an element are keys with {@link ATTRIBUTE} before their names. */
import { XMLBuilder, XMLParser } from 'fast-xml-parser'

export const ATTRIBUTE = '@'

const builder = new XMLBuilder({
  attributeNamePrefix: ATTRIBUTE,
  format: true,
  ignoreAttributes: false,
  indentBy: '  ',
  suppressEmptyNode: true,
})

/** Texts stay texts: a name may look like a number. */
const parser = new XMLParser({
  attributeNamePrefix: ATTRIBUTE,
  ignoreAttributes: false,
  ignoreDeclaration: true,
  parseAttributeValue: false,
  parseTagValue: false,
})

/** As the parser makes them: a text where there is nothing else, and an array where an element comes again. */
export type Element = string | { readonly [key: string]: Element | readonly Element[] }

/** @param root its one element, by name */
export function formatXml(root: object): string {
  return builder.build(root)
}

/** @param xml well-formed @throws names that the parser does not take, such as `__proto__` */
export function parseXml(xml: string): Element {
  return parser.parse(xml) as Element
}
