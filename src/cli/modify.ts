/** `mdevkit modify`: changes a definition, as `mdevctl modify` does. */
import type { Definition, DefinitionKey } from '../http/model.ts'
import { withAttribute, withoutAttribute } from './mdevctl-attributes.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { oneDefined } from './mdevctl-defined.ts'
import { definitionOf, readJsonFile } from './mdevctl-definition-file.ts'
import { Refusal } from './mdevctl-refusal.ts'
import { modifyLive } from './modify-live.ts'

export interface ModifyOptions {
  readonly uuid: string
  readonly parent?: string
  readonly type?: string
  readonly auto?: boolean
  readonly manual?: boolean
  /** Name of an attribute to add. */
  readonly addattr?: string
  readonly value?: string
  readonly delattr?: boolean
  readonly index?: number
  readonly jsonfile?: string
  readonly live?: boolean
  readonly defined?: boolean
  /** Though another owner has made it. */
  readonly force?: boolean
}

export async function modify(context: MdevctlContext, options: ModifyOptions): Promise<string> {
  const { uuid, parent, live = false, jsonfile, force = false } = options
  if (live) return modifyLive(context, options, redefine)
  if (jsonfile !== undefined) {
    if (parent === undefined)
      throw new Refusal('Parent device required to modify device via json file')
    const definition = definitionOf(readJsonFile(jsonfile, 'file'))
    return redefine(context, { parent, uuid }, definition, force)
  }
  const selection = { uuid, parent }
  const mdev = oneDefined(await context.plane.list(), selection, context.warn)
  const key = { parent: mdev.parent, uuid }
  return redefine(context, key, changed(mdev.definition, options), force)
}

async function redefine(
  { plane, callouts }: MdevctlContext,
  key: DefinitionKey,
  definition: Definition,
  force: boolean,
): Promise<string> {
  await callouts.around('modify', { ...key, definition }, force, async () => {
    await plane.define(key, definition, { replace: true, takeOver: force })
  })
  return ''
}

/** What is not named stays, keys of others too. */
function changed(definition: Definition, options: ModifyOptions): Definition {
  const { uuid, type = definition.type, auto, manual, addattr, value, delattr, index } = options
  const { start, attributes } = definition
  const edited = () => {
    if (addattr !== undefined) return withAttribute(attributes, [addattr, value ?? ''], uuid, index)
    return delattr === true ? withoutAttribute(attributes, uuid, index) : attributes
  }
  const mode = manual === true ? 'manual' : start
  return { ...definition, type, start: auto === true ? 'auto' : mode, attributes: edited() }
}
