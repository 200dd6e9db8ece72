/** `mdevkit modify --live`: changes an active mdev, where its driver has settings that can change under its client. */
import type { AttributeTexts, ControlPlane, MdevSnapshot } from '../http/model.ts'
import { attributeRefusal } from './mdevctl-attribute-refusal.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { fits, oneDefined, selectionText } from './mdevctl-defined.ts'
import { definitionOf, readJsonFile } from './mdevctl-definition-file.ts'
import { Refusal } from './mdevctl-refusal.ts'
import type { ModifyOptions } from './modify.ts'
import { presentParents } from './present-parents.ts'

/**
 * Makes the settings of an active mdev those of the file; with `defined` its definition too, once that has succeeded.
 *
 * @throws Refusal it is not active, has another type, or a setting that differs cannot change while it is
 */
export async function modifyLive(
  { plane, warn }: MdevctlContext,
  options: ModifyOptions,
): Promise<string> {
  const { uuid, parent, auto = false, manual = false, jsonfile } = options
  const { defined = false, force = false } = options
  if (auto) throw new Refusal("'auto' cannot be changed on active mdev")
  if (manual) throw new Refusal("'manual' cannot be changed on active mdev")
  const selection = { uuid, parent }
  const listing = await plane.list()
  const active = listing.mdevs.find((mdev) => fits(mdev, selection) && mdev.active)?.active
  if (active === undefined)
    throw new Refusal(`Mediated device ${selectionText(selection)} is not active`, {
      code: 'ENOENT',
    })
  if (jsonfile === undefined) throw new Refusal("'live' option must be used with 'jsonfile' option")
  const definition = definitionOf(readJsonFile(jsonfile, 'file'))
  if (definition.type !== active.type) throw new Refusal("'type' cannot be changed on active mdev")
  const key = { parent: active.parent, uuid }
  if (defined && oneDefined(listing, key, warn).definition.type !== definition.type)
    throw new Refusal("'type' of active and defined mdev does not match")

  await change(plane, active, definition.attributes, force)
  if (defined) await plane.define(key, definition, { replace: true, takeOver: force })
  return ''
}

async function change(
  plane: ControlPlane,
  { uuid, parent, attributes: before }: MdevSnapshot,
  after: AttributeTexts,
  force: boolean,
): Promise<void> {
  const settings =
    (await presentParents(plane)).find(({ name }) => name === parent)?.attributes ?? []
  if (!settings.some((setting) => setting.change === 'live')) throw notSupported()
  const [old, wanted] = [new Map(before), new Map(after)] // of a name that comes again the last one holds
  if ([...old.keys()].some((name) => !wanted.has(name))) throw notSupported() // nothing takes a setting back
  const different = [...wanted].filter(([name, text]) => old.get(name) !== text)
  if (different.length === 0) return
  // it could be built anew where nobody uses it, but that is a restart
  const fixed = new Set(settings.filter(({ change }) => change !== 'live').map(({ name }) => name))
  if (different.some(([name]) => fixed.has(name))) throw notSupported()
  try {
    await plane.change(uuid, different, { takeOver: force })
  } catch (error) {
    throw attributeRefusal(error, different) ?? error
  }
}

function notSupported(): Refusal {
  return new Refusal(
    'Live modification is not supported for this device type. Changing the device configuration requires stopping and restarting the device.',
    { code: 'EOPNOTSUPP' },
  )
}
