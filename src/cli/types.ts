/** `mdevkit types`: what can be created, as `mdevctl types` prints it. */
import type { ParentView, TypeSnapshot } from '../http/model.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { jsonByParent } from './mdevctl-json.ts'
import { typeTable } from './mdev-table.ts'
import { formatted, type ListingFormat } from './output-format.ts'
import { presentParents } from './present-parents.ts'

export interface TypesOptions {
  readonly parent?: string
  readonly dumpjson?: boolean
  /** As none of mdevctl's: with all that is known of each parent. */
  readonly output?: ListingFormat
}

export async function types(
  { plane }: MdevctlContext,
  { parent, dumpjson = false, output }: TypesOptions,
): Promise<string> {
  const parents = (await presentParents(plane)).filter(({ name }) => (parent ?? name) === name)
  if (output !== undefined)
    return formatted(output, {
      table: () => typeTable(parents),
      value: parents,
      names: [...new Set(parents.flatMap(({ types }) => types.map(({ name }) => name)))],
    })
  if (dumpjson)
    return jsonByParent(new Map(parents.map((each) => [each.name, sortedTypes(each).map(asJson)])))
  return parents.map((each) => `${each.name}\n${sortedTypes(each).map(asText).join('')}`).join('')
}

function sortedTypes({ types }: ParentView): readonly TypeSnapshot[] {
  return types.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function asText(type: TypeSnapshot): string {
  const { name, description } = textsOf(type)
  return [
    `  ${type.name}`,
    `    Available instances: ${type.availableInstances}`,
    `    Device API: ${type.deviceApi}`,
    ...(name === '' ? [] : [`    Name: ${name}`]),
    ...(description === '' ? [] : [`    Description: ${description}`]),
    '',
  ].join('\n')
}

function asJson(type: TypeSnapshot): object {
  const { name, description } = textsOf(type)
  return {
    [type.name]: {
      available_instances: type.availableInstances,
      device_api: type.deviceApi,
      ...(name === '' ? {} : { name }),
      ...(description === '' ? {} : { description }),
    },
  }
}

/** A description is one line, whatever it was. */
function textsOf({ prettyName, description = '' }: TypeSnapshot) {
  return { name: prettyName.trim(), description: description.trim().replaceAll('\n', ', ') }
}
