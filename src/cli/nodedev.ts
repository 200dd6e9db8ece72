/** `mdevkit nodedev`: parents and mdevs as libvirt's node devices, by virsh's verbs and in its words. */
import { readFileSync } from 'node:fs'
import type { ControlPlane, MdevView, ParentView } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'
import { freshUuid } from '../lib/uuid.ts'
import { findMdev, mdevNodeName, parentNodeName } from './nodedev-names.ts'
import { formatMdev, formatParent, parseMdev, type WantedMdev } from './nodedev-xml.ts'
import { presentParents } from './present-parents.ts'

export interface NodedevContext {
  readonly plane: ControlPlane
  /** Where the tree of files is: `/run/mdevkit/sys`. */
  readonly sysfs: string
}

export interface NodedevListOptions {
  readonly cap?: 'mdev' | 'mdev_types'
  /** Mdevs that are defined, and not active. */
  readonly inactive?: boolean
  /** Active or not; without either, active ones alone. */
  readonly all?: boolean
  /** Defined ones alone. */
  readonly persistent?: boolean
  /** Those alone that are not defined. */
  readonly transient?: boolean
}

export interface NodedevForceOptions {
  /** Though another owner has made it. */
  readonly force?: boolean
}

/** @returns names, a line each */
export async function listNodes(
  { plane }: NodedevContext,
  { cap, inactive = false, all = false, persistent = false, transient = false }: NodedevListOptions,
): Promise<string> {
  const { parents, mdevs } = await nodesOf(plane)
  const withParents = cap !== 'mdev' && !inactive && !persistent
  const fits = ({ active, definition }: MdevView) =>
    (all || (active === undefined) === inactive) &&
    (!persistent || definition !== undefined) &&
    (!transient || definition === undefined)
  const names = [
    ...(withParents ? parents.map(parentNodeName) : []),
    ...(cap === 'mdev_types' ? [] : mdevs.filter(fits).map(mdevNodeName)),
  ]
  return names
    .toSorted()
    .map((name) => `${name}\n`)
    .join('')
}

/** @returns the XML of a parent or an mdev @throws ENOENT */
export async function dumpNode(
  { plane, sysfs }: NodedevContext,
  name: string,
  { inactive = false }: { readonly inactive?: boolean },
): Promise<string> {
  const { parents, mdevs } = await nodesOf(plane)
  const parent = parents.find((each) => parentNodeName(each) === name)
  if (parent !== undefined) return formatParent(parent, sysfs)
  const mdev = findMdev(mdevs, name)
  if (inactive && mdev.definition === undefined) throw notDefined(name)
  const its = parents.find((each) => each.name === mdev.parent)
  return formatMdev(mdev, its, sysfs, inactive)
}

/** @returns what virsh's nodedev-info prints @throws ENOENT */
export async function nodeInfo({ plane }: NodedevContext, name: string): Promise<string> {
  const { parents, mdevs } = await nodesOf(plane)
  const mdev = findMdev(mdevs, name)
  const parent = parents.find((each) => each.name === mdev.parent)
  const yes = (is: boolean) => (is ? 'yes' : 'no')
  const rows = {
    Name: name,
    Parent: parent === undefined ? 'computer' : parentNodeName(parent),
    Active: yes(mdev.active !== undefined),
    Persistent: yes(mdev.definition !== undefined),
    Autostart: yes(mdev.definition?.start === 'auto'),
  }
  return Object.entries(rows)
    .map(([key, value]) => `${`${key}:`.padEnd(16)}${value}\n`)
    .join('')
}

/** Makes an mdev active that is not defined. @throws as ControlPlane.start · EINVAL the file */
export async function createNode({ plane }: NodedevContext, file: string): Promise<string> {
  const { wanted, parent } = await wantedOf(plane, file)
  const { type, attributes, uuid = freshUuid() } = wanted
  await plane.start({ parent, uuid, type, attributes })
  return `Node device ${mdevNodeName({ uuid, parent })} created from ${file}\n`
}

/** Defines an mdev; one that is defined already is changed. @throws as ControlPlane.define · EINVAL the file */
export async function defineNode(
  { plane }: NodedevContext,
  file: string,
  { force = false }: NodedevForceOptions = {},
): Promise<string> {
  const { wanted, parent } = await wantedOf(plane, file)
  const { type, attributes, uuid = freshUuid() } = wanted
  const before = (await plane.find(uuid)).find((each) => each.parent === parent)?.definition
  const definition = { start: 'manual' as const, ...before, type, attributes }
  const options = { replace: before !== undefined, takeOver: force }
  await plane.define({ parent, uuid }, definition, options)
  return `Node device '${mdevNodeName({ uuid, parent })}' defined from '${file}'\n`
}

/** Starts one that is defined. @throws ENOENT · EEXIST it is active already · as ControlPlane.start */
export async function startNode({ plane }: NodedevContext, name: string): Promise<string> {
  const { uuid, parent, active, definition } = findMdev((await plane.list()).mdevs, name)
  if (active !== undefined) throw new ErrnoError('EEXIST', `${name}: Device is already active`)
  if (definition === undefined) throw notDefined(name)
  await plane.start({ uuid, parent })
  return `Device ${name} started\n`
}

/** @throws ENOENT it is not active · EBUSY a client uses it · EPERM another has made it */
export async function destroyNode(
  { plane }: NodedevContext,
  name: string,
  { force = false }: NodedevForceOptions = {},
): Promise<string> {
  const { parents, mdevs } = await nodesOf(plane)
  if (parents.some((each) => parentNodeName(each) === name))
    throw new ErrnoError('EOPNOTSUPP', `${name}: Unsupported device type`)
  const { uuid, active } = findMdev(mdevs, name)
  if (active === undefined) throw new ErrnoError('ENOENT', `${name}: Device is not active`)
  await plane.stop(uuid, { takeOver: force })
  return `Destroyed node device '${name}'\n`
}

/** @throws ENOENT it is not defined · EPERM another has defined it */
export async function undefineNode(
  { plane }: NodedevContext,
  name: string,
  { force = false }: NodedevForceOptions = {},
): Promise<string> {
  const { uuid, parent, definition } = findMdev((await plane.list()).mdevs, name)
  if (definition === undefined) throw notDefined(name)
  await plane.undefine(uuid, parent, { takeOver: force })
  return `Undefined node device '${name}'\n`
}

/** Whether one that is defined is started whenever its parent is there. @throws ENOENT it is not defined */
export async function autostartNode(
  { plane }: NodedevContext,
  name: string,
  { disable = false, force = false }: NodedevForceOptions & { readonly disable?: boolean },
): Promise<string> {
  const { uuid, parent, definition } = findMdev((await plane.list()).mdevs, name)
  if (definition === undefined) throw notDefined(name)
  const start = disable ? 'manual' : 'auto'
  const options = { replace: true, takeOver: force }
  await plane.define({ uuid, parent }, { ...definition, start }, options)
  return `Device ${name} ${disable ? 'unmarked' : 'marked'} as autostarted\n`
}

async function nodesOf(
  plane: ControlPlane,
): Promise<{ readonly parents: readonly ParentView[]; readonly mdevs: readonly MdevView[] }> {
  const [parents, { mdevs }] = await Promise.all([presentParents(plane), plane.list()])
  return { parents, mdevs }
}

/** What a file asks for, and the name of its parent. */
async function wantedOf(
  plane: ControlPlane,
  file: string,
): Promise<{ readonly wanted: WantedMdev; readonly parent: string }> {
  const wanted = parseMdev(readFileSync(file === '-' ? 0 : file, 'utf8'))
  const parents = await presentParents(plane)
  const parent = parents.find((each) => parentNodeName(each) === wanted.parent)
  if (parent === undefined)
    throw new ErrnoError('ENOENT', `invalid parent device '${wanted.parent}'`)
  return { wanted, parent: parent.name }
}

function notDefined(name: string): ErrnoError {
  return new ErrnoError('ENOENT', `Node device '${name}' is not defined`)
}
