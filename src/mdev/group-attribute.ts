/** The setting `group`, which every mdev has whose type joins groups. */
import { ErrnoError } from '../lib/errno.ts'
import { parseUuid } from '../lib/uuid.ts'
import type { Attribute, Attributes, AttributeTexts } from './attribute.ts'
import type { Driver, TypeInfo } from './driver.ts'
import { attributesOf } from './type-attributes.ts'

export const GROUP = 'group'

const attribute: Attribute<string> = {
  description: 'UUID of the group that the mdev joins with others; empty for one of its own',
  default: '',
  change: 'live',
  accepts: 'a UUID, or nothing',
  schema: { type: 'string' },
  parse: (text) => (text === '' ? '' : parseUuid(text)),
  show: (uuid) => uuid,
}

/** The driver's settings, and ours for a type that joins groups. @param type any of the driver's, unless given */
export function withGroup(driver: Driver, type?: TypeInfo): Attributes {
  const types = type === undefined ? Object.values(driver.types) : [type]
  const joins = types.some(({ peerToPeer }) => peerToPeer === true)
  const own = type === undefined ? (driver.attributes ?? {}) : attributesOf(driver, type)
  return joins ? { ...own, [GROUP]: attribute } : own
}

/** The UUID of the group that an mdev with these settings is in; empty for one of its own. @param known its settings */
export function groupOf(known: Attributes, values: Readonly<Record<string, unknown>>): string {
  if (known[GROUP] !== attribute) return '' // a driver's own setting of that name
  const uuid = values[GROUP]
  return typeof uuid === 'string' ? uuid : ''
}

/** @throws EOPNOTSUPP `texts` want a group for an mdev whose type joins none */
export function checkGroupText(typeName: string, known: Attributes, texts: AttributeTexts): void {
  if (Object.hasOwn(known, GROUP) || !texts.some(([name]) => name === GROUP)) return
  throw new ErrnoError(
    'EOPNOTSUPP',
    `attribute ${GROUP}: mdevs of type ${typeName} join no groups: it is not peer-to-peer`,
  )
}
