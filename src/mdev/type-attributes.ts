/** Which settings mdevs of a type have: the driver's, but for what the type says of them. */
import type { Attribute, Attributes } from './attribute.ts'
import type { Driver, TypeInfo } from './driver.ts'

/** Of each named setting of the driver: another default or range, or `false` where mdevs of the type have no such setting. */
export type TypeAttributes = Readonly<Record<string, Attribute<unknown> | false>>

/** The settings of an mdev of a type. */
export function attributesOf(
  driver: Pick<Driver, 'attributes'>,
  type: Pick<TypeInfo, 'attributes'>,
): Attributes {
  const all = Object.entries({ ...driver.attributes, ...type.attributes })
  return Object.fromEntries(all.filter(isAttribute))
}

function isAttribute(
  entry: [name: string, attribute: Attribute<unknown> | false],
): entry is [string, Attribute<unknown>] {
  return entry[1] !== false
}

/** What the driver finds in place of settings that mdevs of a type do not have: their defaults. */
export function valuesOfMissing(
  driver: Pick<Driver, 'attributes'>,
  type: Pick<TypeInfo, 'attributes'>,
): Readonly<Record<string, unknown>> {
  const missing = Object.entries(driver.attributes ?? {}).filter(
    ([name]) => type.attributes?.[name] === false,
  )
  return Object.fromEntries(missing.map(([name, attribute]) => [name, attribute.default]))
}
