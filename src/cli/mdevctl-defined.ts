/** Definitions as mdevctl finds them: a name that is no UUID is warned of, and a broken file is the end of it. */
import { basename, dirname } from 'node:path'
import type { ControlPlane, DefinedMdev, DefinitionFault, MdevView } from '../http/model.ts'
import { Refusal } from './mdevctl-refusal.ts'
import { uuidOf } from './mdevctl-uuid.ts'
import type { Warn } from './mdevctl-warn.ts'

/** Which mdevs are meant: all that fit. */
export interface Selection {
  /** Lower case. */
  readonly uuid?: string | undefined
  readonly parent?: string | undefined
}

/** What the control plane lists. */
export type Listing = Awaited<ReturnType<ControlPlane['list']>>

type Defined = MdevView & DefinedMdev

/** What is said of a file begins with its errno: with this one it was read, and is no definition. */
const BROKEN = 'EINVAL: '

/** @throws Refusal a file that may be one of them is no definition */
export function definedMdevs(
  { mdevs, faults }: Listing,
  selection: Selection,
  warn: Warn,
): readonly Defined[] {
  const { uuid, parent } = selection
  const found = faults.filter(({ path }) => (parent ?? parentOf(path)) === parentOf(path))
  mustBeWhole(found, uuid)
  for (const fault of found) warnOf(fault, warn)
  return mdevs.filter((mdev): mdev is Defined => isDefined(mdev) && fits(mdev, selection))
}

export function fits({ uuid, parent }: MdevView, selection: Selection): boolean {
  return (
    (selection.uuid === undefined || selection.uuid === uuid) &&
    (selection.parent === undefined || selection.parent === parent)
  )
}

/**
 * The one definition that is meant.
 *
 * @throws Refusal there is none, or more than one
 */
export function oneDefined(
  listing: Listing,
  selection: Selection & { readonly uuid: string },
  warn: Warn,
): DefinedMdev {
  const [only, ...more] = definedMdevs(listing, selection, warn)
  if (only === undefined)
    throw new Refusal(`Mediated device ${selectionText(selection)} is not defined`, {
      code: 'ENOENT',
    })
  if (more.length > 0)
    throw new Refusal(`Multiple definitions found for ${selection.uuid}, specify a parent`)
  return only
}

/** `mtty/00000001-…`, or the UUID alone. */
export function selectionText({ uuid, parent }: Selection & { readonly uuid: string }): string {
  return parent === undefined ? uuid : `${parent}/${uuid}`
}

/** The directory that a definition's file is in. */
function parentOf(path: string): string {
  return basename(dirname(path))
}

function isDefined(mdev: MdevView): mdev is Defined {
  return mdev.definition !== undefined
}

/** @throws Refusal one of them is a broken definition of what is selected */
function mustBeWhole(faults: readonly DefinitionFault[], uuid: string | undefined): void {
  for (const { path, message } of faults) {
    const name = basename(path)
    // another spelling of a UUID is skipped in silence
    if (uuidOf(name) === name && (uuid ?? name) === name && message.startsWith(BROKEN))
      throw new Refusal(message.slice(BROKEN.length))
  }
}

function warnOf({ path, message }: DefinitionFault, warn: Warn): void {
  const name = basename(path)
  if (!message.startsWith(BROKEN))
    warn(`Unable to read "${path}": ${message}`, 'mdevctl::environment')
  else if (uuidOf(name) === undefined)
    warn(`Can't determine uuid for file '${name}'`, 'mdevctl::environment')
}
