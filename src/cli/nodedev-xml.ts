/** Node devices as libvirt's XML has them: parents and mdevs out, mdevs in. */
import { XMLValidator } from 'fast-xml-parser'
import type { AttributeTexts, MdevView, ParentView } from '../http/model.ts'
import { type ErrnoCode, ErrnoError } from '../lib/errno.ts'
import { parseUuid } from '../lib/uuid.ts'
import { ATTRIBUTE, type Element, formatXml, parseXml } from './libvirt-xml.ts'
import { mdevNodeName, parentNodeName } from './nodedev-names.ts'

/**
 * A parent. Its types are in a capability of a capability, as libvirt shows the one kind of parent that is neither a PCI nor a
 * CCW device.
 *
 * @param sysfs where the tree of files is: `/run/mdevkit/sys`
 */
export function formatParent(parent: ParentView, sysfs: string): string {
  const types = parent.types.map(({ name, prettyName, deviceApi, availableInstances }) => ({
    [`${ATTRIBUTE}id`]: name,
    name: prettyName,
    deviceAPI: deviceApi,
    availableInstances,
  }))
  return xmlOf({
    name: parentNodeName(parent),
    path: parentPath(parent, sysfs),
    parent: 'computer',
    capability: {
      [`${ATTRIBUTE}type`]: 'mdev_types',
      capability: { [`${ATTRIBUTE}type`]: 'mdev_types', type: types },
    },
  })
}

/**
 * An mdev, as it is where it is active, else as it is defined.
 *
 * @param parent   as long as a host runs it
 * @param sysfs    as of {@link formatParent}
 * @param inactive as it is defined, also where it is active
 */
export function formatMdev(
  mdev: MdevView,
  parent: ParentView | undefined,
  sysfs: string,
  inactive = false,
): string {
  const active = inactive ? undefined : mdev.active
  const { definition } = mdev
  const attributes = active === undefined ? definition?.attributes : active.attributes
  return xmlOf({
    name: mdevNodeName(mdev),
    ...(active !== undefined && parent !== undefined
      ? { path: `${parentPath(parent, sysfs)}/${mdev.uuid}` }
      : {}),
    parent: parent === undefined ? 'computer' : parentNodeName(parent),
    ...(active !== undefined && parent !== undefined ? { driver: { name: parent.driver } } : {}),
    capability: {
      [`${ATTRIBUTE}type`]: 'mdev',
      type: { [`${ATTRIBUTE}id`]: active?.type ?? definition?.type ?? '' },
      uuid: mdev.uuid,
      parent_addr: mdev.parent,
      iommuGroup: { [`${ATTRIBUTE}number`]: active?.group ?? 0 },
      attr: (attributes ?? []).map(([name, value]) => ({
        [`${ATTRIBUTE}name`]: name,
        [`${ATTRIBUTE}value`]: value,
      })),
    },
  })
}

function parentPath({ driver, name }: ParentView, sysfs: string): string {
  return `${sysfs}/devices/virtual/${driver}/${name}`
}

function xmlOf(device: object): string {
  return formatXml({ device })
}

/** What a file asks for. */
export interface WantedMdev {
  /** The node device's name, such as `mtty_mtty`. */
  readonly parent: string
  readonly type: string
  /** Lower case. */
  readonly uuid?: string
  /** In their order. */
  readonly attributes: AttributeTexts
}

/** Most that a file may hold; libvirt has a like limit for what crosses its own wire. */
const MAX_XML = 1024 * 1024

/**
 * Reads an mdev. Elements that say nothing about one are passed over, as libvirt does.
 *
 * @throws EINVAL it is no XML, or not that of an mdev · E2BIG
 * @see libvirt's src/conf/node_device_conf.c; refusals are in its words
 */
export function parseMdev(xml: string): WantedMdev {
  if (xml.length > MAX_XML) throw refusal(`XML of ${xml.length} characters`, 'E2BIG')
  if (/<!DOCTYPE/i.test(xml)) throw refusal('XML error: a document type is not taken')
  const fault = XMLValidator.validate(xml)
  if (fault !== true) {
    const { line, msg } = fault.err
    throw refusal(`XML error: line ${line}: ${msg}`)
  }
  const root = treeOf(xml)
  const device = elementsOf(root, 'device')[0]
  if (device === undefined) {
    const found = Object.keys(root)[0] ?? 'none'
    throw refusal(`XML error: unexpected root element <${found}>, expecting <device>`)
  }
  const capability = elementsOf(device, 'capability').find(
    (each) => attributeOf(each, 'type') === 'mdev',
  )
  if (capability === undefined) throw refusal("XML error: no capability of type 'mdev'")
  const parent = textOf(device, 'parent')
  if (parent === undefined) throw refusal('missing parent device')
  if (parent === 'computer') throw refusal("Unable to find address for parent device 'computer'")
  const type = attributeOf(elementsOf(capability, 'type')[0], 'id')
  if (type === undefined) throw refusal("missing type id attribute for 'new device'")
  const uuid = textOf(capability, 'uuid')
  return {
    parent,
    type,
    ...(uuid === undefined ? {} : { uuid: uuidOf(uuid) }),
    attributes: elementsOf(capability, 'attr').map((attr) => {
      const name = attributeOf(attr, 'name')
      const value = attributeOf(attr, 'value')
      if (name === undefined || value === undefined)
        throw refusal("XML error: <attr> needs both 'name' and 'value'")
      return [name, value] as const
    }),
  }
}

/** @throws EINVAL names that the parser does not take, such as `__proto__` */
function treeOf(xml: string): Element {
  try {
    return parseXml(xml)
  } catch (error) {
    throw refusal(`XML error: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function elementsOf(element: Element, name: string): readonly Element[] {
  if (typeof element === 'string' || !Object.hasOwn(element, name)) return []
  const found = element[name]!
  return Array.isArray(found) ? (found as readonly Element[]) : [found as Element]
}

function textOf(element: Element, name: string): string | undefined {
  const [first] = elementsOf(element, name)
  if (first === undefined) return undefined
  const text = typeof first === 'string' ? first : elementsOf(first, '#text')[0]
  return typeof text === 'string' && text !== '' ? text : undefined
}

function attributeOf(element: Element | undefined, name: string): string | undefined {
  const [value] = element === undefined ? [] : elementsOf(element, `${ATTRIBUTE}${name}`)
  return typeof value === 'string' ? value : undefined
}

function uuidOf(text: string): string {
  try {
    return parseUuid(text)
  } catch {
    throw refusal(`Invalid uuid '${text}' for new mdev device`)
  }
}

function refusal(message: string, code: ErrnoCode = 'EINVAL'): ErrnoError {
  return new ErrnoError(code, message)
}
