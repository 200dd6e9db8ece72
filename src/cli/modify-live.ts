/** `mdevkit modify --live`: changes an active mdev, where its driver has settings that can change under its client. */
import type {
  AttributeTexts,
  ControlPlane,
  Definition,
  DefinitionKey,
  MdevSnapshot,
} from '../http/model.ts'
import { attributeRefusal } from './mdevctl-attribute-refusal.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { fits, oneDefined, selectionText } from './mdevctl-defined.ts'
import { definitionOf, readJsonFile } from './mdevctl-definition-file.ts'
import { Refusal } from './mdevctl-refusal.ts'
import type { ModifyOptions } from './modify.ts'
import { presentParents } from './present-parents.ts'

type Redefine = (
  context: MdevctlContext,
  key: DefinitionKey,
  definition: Definition,
  force: boolean,
) => Promise<string>

/**
 * Makes the settings of an active mdev those of the file; with `defined` its definition too, once that has succeeded. A callout
 * script that says it can do that is told first, and what its driver cannot change in use is its affair.
 *
 * @throws Refusal it is not active, has another type, or a setting that differs cannot change while it is
 */
export async function modifyLive(
  context: MdevctlContext,
  options: ModifyOptions,
  redefine: Redefine,
): Promise<string> {
  const { plane, warn } = context
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

  const hasScript = await context.callouts.live({ ...key, definition })
  await change(plane, active, definition.attributes, { force, hasScript })
  return defined ? redefine(context, key, definition, force) : ''
}

interface ChangeOptions {
  readonly force: boolean
  /** Whether a script has made the change, as far as it is none of the driver's. */
  readonly hasScript: boolean
}

async function change(
  plane: ControlPlane,
  { uuid, parent, attributes: before }: MdevSnapshot,
  after: AttributeTexts,
  { force, hasScript }: ChangeOptions,
): Promise<void> {
  const settings =
    (await presentParents(plane)).find(({ name }) => name === parent)?.attributes ?? []
  const live = new Set(settings.filter(({ change }) => change === 'live').map(({ name }) => name))
  const [old, wanted] = [new Map(before), new Map(after)] // of a name that comes again the last one holds
  const different = [...wanted].filter(([name, text]) => old.get(name) !== text)
  if (!hasScript) {
    if (live.size === 0) throw notSupported()
    if ([...old.keys()].some((name) => !wanted.has(name))) throw notSupported() // nothing takes a setting back
    // it could be built anew where nobody uses it, but that is a restart
    const fixed = settings.filter(({ name }) => !live.has(name))
    if (different.some(([name]) => fixed.some((each) => each.name === name))) throw notSupported()
  }
  const ours = hasScript ? different.filter(([name]) => live.has(name)) : different
  if (ours.length === 0) return
  try {
    await plane.change(uuid, ours, { takeOver: force })
  } catch (error) {
    throw attributeRefusal(error, ours) ?? error
  }
}

function notSupported(): Refusal {
  return new Refusal(
    'Live modification is not supported for this device type. Changing the device configuration requires stopping and restarting the device.',
    { code: 'EOPNOTSUPP' },
  )
}
