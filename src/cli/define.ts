/** `mdevkit define`: an mdev that is to be, as `mdevctl define` takes it. */
import type { Definition, DefinitionKey } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'
import { freshUuid } from '../lib/uuid.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { definedMdevs } from './mdevctl-defined.ts'
import { definitionOf, readJsonFile } from './mdevctl-definition-file.ts'
import { Refusal } from './mdevctl-refusal.ts'

export interface DefineOptions {
  readonly uuid?: string
  readonly parent?: string
  readonly type?: string
  readonly auto?: boolean
  readonly jsonfile?: string
  /** Though a callout script refuses. */
  readonly force?: boolean
}

interface Wanted {
  readonly key: DefinitionKey
  readonly definition: Definition
  /** Whether it is to be defined as it is active. */
  readonly isActive?: boolean
}

/** @returns the UUID, where none was given */
export async function define(context: MdevctlContext, options: DefineOptions): Promise<string> {
  const { jsonfile, uuid = freshUuid(), force = false } = options
  const {
    key,
    definition,
    isActive = false,
  } = jsonfile === undefined
    ? await wanted(context, uuid, options)
    : await wantedByFile(context, uuid, jsonfile, options)
  const device = { ...key, definition }
  await context.callouts.around('define', device, force, async () => {
    const told = isActive ? await context.callouts.attributesOf(device) : undefined
    const attributes = told ?? definition.attributes
    try {
      await context.plane.define(key, { ...definition, attributes })
    } catch (error) {
      throw error instanceof ErrnoError && error.code === 'EEXIST' ? alreadyDefined(key) : error
    }
  })
  return options.uuid === undefined ? `${uuid}\n` : ''
}

async function wanted(
  { plane }: MdevctlContext,
  uuid: string,
  options: DefineOptions,
): Promise<Wanted> {
  const { mdevs } = await plane.list()
  const active = mdevs.find((mdev) => mdev.uuid === uuid && mdev.active !== undefined)?.active
  const parent = options.parent ?? (options.type === undefined ? active?.parent : undefined)
  const type = options.type ?? active?.type
  if (parent === undefined) throw new Refusal('No parent specified')
  if (type === undefined) throw new Refusal('No type specified')
  const key = { parent, uuid }
  const defined = mdevs.find((mdev) => mdev.uuid === uuid && mdev.parent === parent)
  if (defined?.definition !== undefined) throw alreadyDefined(key)
  const start = options.auto === true ? 'auto' : 'manual'
  const isActive = active?.parent === parent && active.type === type
  // as where a callout script tells of them; what it does tell is taken instead
  const attributes = isActive ? active.attributes : []
  return { key, definition: { type, start, attributes }, isActive }
}

async function wantedByFile(
  { plane, warn }: MdevctlContext,
  uuid: string,
  file: string,
  { parent }: DefineOptions,
): Promise<Wanted> {
  const json = readJsonFile(file, 'file')
  if (parent === undefined)
    throw new Refusal(`Parent device required to define device via ${JSON.stringify(file)}`)
  if (definedMdevs(await plane.list(), { uuid, parent }, warn).length > 0)
    throw new Refusal(`Cowardly refusing to overwrite existing config for ${parent}/${uuid}`, {
      code: 'EEXIST',
    })
  return { key: { parent, uuid }, definition: definitionOf(json) }
}

function alreadyDefined({ parent, uuid }: DefinitionKey): Refusal {
  return new Refusal(`Device ${uuid} on ${parent} already defined`, { code: 'EEXIST' })
}
