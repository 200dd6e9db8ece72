/** One mdev made active, with mdevctl's checks in mdevctl's order. */
import type { AttributeTexts, ControlPlane } from '../http/model.ts'
import { describeError, type ErrnoCode, ErrnoError } from '../lib/errno.ts'
import { attributeRefusal } from './mdevctl-attribute-refusal.ts'
import { Refusal } from './mdevctl-refusal.ts'
import { presentParents } from './present-parents.ts'

interface Wanted {
  readonly uuid: string
  readonly parent: string
  readonly type: string
  readonly attributes: AttributeTexts
}

/** @throws Refusal */
export async function startMdev(plane: ControlPlane, mdev: Wanted): Promise<void> {
  const { uuid, parent, type, attributes } = mdev
  await mustBeInactive(plane, mdev)
  const isFull = await mustBeOffered(plane, mdev)
  try {
    await plane.start({ uuid, parent, type, attributes })
  } catch (error) {
    const code = error instanceof ErrnoError ? error.code : undefined
    if (code === 'ENOSPC' || code === 'EUSERS') throw noInstances(mdev, code)
    if (isFull) throw noInstances(mdev, 'ENOSPC') // which mdevctl looks at before all else
    const what = `Failed to create mdev ${uuid}, type ${type} on ${parent}`
    const cause = describeError(error)
    throw attributeRefusal(error, attributes) ?? new Refusal(what, { cause, origin: error })
  }
}

async function mustBeInactive(plane: ControlPlane, { uuid, parent, type }: Wanted): Promise<void> {
  const { mdevs } = await plane.list()
  const active = mdevs.find((mdev) => mdev.uuid === uuid && mdev.active !== undefined)?.active
  if (active === undefined) return
  if (active.parent !== parent) throw exists('Device exists under different parent')
  if (active.type !== type) throw exists('Device exists with different type')
  throw exists('Device already exists')
}

/** @returns whether no instance is left: asking all the same tells which errno that has, or finds that one has come free */
async function mustBeOffered(plane: ControlPlane, { parent, type }: Wanted): Promise<boolean> {
  const parents = await presentParents(plane)
  const bearer = parents.find(({ name }) => name === parent)
  if (bearer === undefined) {
    const alike = parents.find(({ name }) => name.toLowerCase() === parent.toLowerCase())
    const hint = alike === undefined ? '' : `. Did you mean '${alike.name}'?`
    throw new Refusal(`Unable to find parent device '${parent}'${hint}`, { code: 'ENOENT' })
  }
  const offered = bearer.types.find(({ name }) => name === type)
  if (offered === undefined)
    throw new Refusal(`Parent ${parent} does not support mdev type ${type}`, { code: 'ENOENT' })
  return offered.availableInstances === 0
}

function exists(how: string): Refusal {
  return new Refusal(how, { code: 'EEXIST' })
}

function noInstances({ parent, type }: Wanted, code: ErrnoCode): Refusal {
  return new Refusal(`No available instances of ${type} on ${parent}`, { code })
}
