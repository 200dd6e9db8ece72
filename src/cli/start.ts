/** `mdevkit start`: makes an mdev active, as `mdevctl start` does: a definition, or what the options say. */
import type { AttributeTexts } from '../http/model.ts'
import { freshUuid } from '../lib/uuid.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { definedMdevs } from './mdevctl-defined.ts'
import { definitionOf, mustBeJson, readJsonFile } from './mdevctl-definition-file.ts'
import { Refusal } from './mdevctl-refusal.ts'
import { startMdev } from './mdevctl-start.ts'

export interface StartOptions {
  readonly uuid?: string
  readonly parent?: string
  readonly type?: string
  readonly jsonfile?: string
  /** Though a callout script refuses. */
  readonly force?: boolean
}

/** @returns the UUID, where none was given */
export async function start(context: MdevctlContext, options: StartOptions): Promise<string> {
  const { jsonfile, uuid, force = false } = options
  const wanted =
    jsonfile === undefined ? await wantedOf(context, options) : wantedByFile(jsonfile, options)
  const mdev = { uuid: uuid ?? freshUuid(), ...wanted }
  const { parent, type, attributes } = mdev
  const device = { uuid: mdev.uuid, parent, definition: { type, start: wanted.start, attributes } }
  await context.callouts.around('start', device, force, () => startMdev(context.plane, mdev))
  return uuid === undefined ? `${mdev.uuid}\n` : ''
}

interface Wanted {
  readonly parent: string
  readonly type: string
  readonly start: 'auto' | 'manual'
  readonly attributes: AttributeTexts
}

async function wantedOf(
  { plane, warn }: MdevctlContext,
  { uuid, parent, type }: StartOptions,
): Promise<Wanted> {
  if (uuid !== undefined) {
    const selection = { uuid, parent }
    const [only, ...more] = definedMdevs(await plane.list(), selection, warn)
    if (more.length > 0)
      throw new Refusal(`Multiple definitions found for device ${uuid}. Please specify a parent.`)
    if (only !== undefined) {
      const { definition } = only
      if (type !== undefined && type !== definition.type)
        throw new Refusal(
          `Device ${uuid} already exists on parent ${only.parent} with type ${definition.type}`,
          { code: 'EEXIST' },
        )
      const { type: defined, start: mode, attributes } = definition
      return { parent: only.parent, type: defined, start: mode, attributes }
    }
  }
  if (type !== undefined && parent === undefined)
    throw new Refusal("can't provide type without parent")
  if (type === undefined || parent === undefined)
    throw new Refusal('Device is insufficiently specified')
  return { parent, type, start: 'manual', attributes: [] }
}

function wantedByFile(file: string, { parent }: StartOptions): Wanted {
  const json = readJsonFile(file, 'jsonfile')
  mustBeJson(json)
  if (parent === undefined)
    throw new Refusal('Parent device required to start device via json file')
  const { type, start: mode, attributes } = definitionOf(json)
  return { parent, type, start: mode, attributes }
}
