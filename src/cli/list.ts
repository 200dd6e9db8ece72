/** `mdevkit list`: active mdevs, or definitions, as `mdevctl list` prints them. */
import {
  type AttributeTexts,
  type Definition,
  definitionJson,
  type MdevView,
} from '../http/model.ts'
import { attributesText } from './mdevctl-attributes.ts'
import type { MdevctlCallouts } from './mdevctl-callouts.ts'
import type { MdevctlContext } from './mdevctl-context.ts'
import { definedMdevs, fits, type Listing, type Selection } from './mdevctl-defined.ts'
import { jsonByParent, prettyJson } from './mdevctl-json.ts'
import { mdevTable } from './mdev-table.ts'
import { formatted, type ListingFormat } from './output-format.ts'
import { paintsFor } from './paint.ts'
import type { Warn } from './mdevctl-warn.ts'

export interface ListOptions extends Selection {
  readonly defined?: boolean
  readonly dumpjson?: boolean
  readonly verbose?: boolean
  /** As none of mdevctl's: with all that is known of each. */
  readonly output?: ListingFormat
}

interface Row extends Definition {
  readonly uuid: string
  readonly parent: string
  /** What follows the start mode: ` (active)`. */
  readonly mark: string
}

const NO_ATTRIBUTES: AttributeTexts = []

export async function list(
  { plane, warn, callouts }: MdevctlContext,
  { defined = false, dumpjson = false, verbose = false, output, ...selection }: ListOptions,
): Promise<string> {
  const listing = await plane.list()
  if (output !== undefined) return listed(listing, { defined, ...selection }, warn, output)
  const rows = defined
    ? definedRows(listing, selection, warn)
    : await withAttributes(activeRows(listing, selection), dumpjson || verbose, callouts)
  if (!dumpjson) return rows.map((row) => asText(row, verbose)).join('')
  const [only, ...more] = rows
  if (selection.uuid !== undefined && only !== undefined && more.length === 0)
    return prettyJson(definitionJson(only)) // ready to be a definition's file
  return jsonByParent(rowsByParent(rows))
}

/** The same mdevs, as the API has them. */
async function listed(
  listing: Listing,
  { defined, ...selection }: Selection & { readonly defined: boolean },
  warn: Warn,
  output: ListingFormat,
): Promise<string> {
  const mdevs = defined
    ? definedMdevs(listing, selection, warn)
    : listing.mdevs.filter((mdev) => mdev.active !== undefined && fits(mdev, selection))
  return formatted(output, {
    table: () => mdevTable(mdevs, paintsFor(process.stdout)),
    value: { mdevs, faults: listing.faults },
    names: mdevs.map(({ uuid }) => uuid),
  })
}

function definedRows(listing: Listing, selection: Selection, warn: Warn): readonly Row[] {
  return definedMdevs(listing, selection, warn).map(({ uuid, parent, definition, active }) => {
    const { type, start, attributes } = definition
    return { uuid, parent, type, start, attributes, mark: active === undefined ? '' : ' (active)' }
  })
}

/** Without attributes, which mdevctl has from callout scripts alone. */
function activeRows({ mdevs }: Listing, selection: Selection): readonly Row[] {
  return mdevs
    .filter((mdev) => fits(mdev, selection))
    .flatMap(({ uuid, parent, active, definition }: MdevView) => {
      if (active === undefined) return []
      const start = definition?.start ?? 'manual'
      const mark = definition === undefined ? '' : ' (defined)'
      return [{ uuid, parent, type: active.type, start, attributes: NO_ATTRIBUTES, mark }]
    })
}

/** As the scripts have them that know such mdevs. One that fails keeps nobody from seeing the others. */
async function withAttributes(
  rows: readonly Row[],
  areShown: boolean,
  callouts: MdevctlCallouts,
): Promise<readonly Row[]> {
  if (!areShown) return rows
  const shown: Row[] = []
  for (const row of rows) {
    const { uuid, parent, type, start } = row
    const definition = { type, start, attributes: NO_ATTRIBUTES }
    const told = await callouts.attributesOf({ uuid, parent, definition }).catch(() => undefined)
    shown.push({ ...row, attributes: told ?? NO_ATTRIBUTES })
  }
  return shown
}

function asText({ uuid, parent, type, start, mark, attributes }: Row, verbose: boolean): string {
  const line = `${uuid} ${parent} ${type} ${start}${mark}\n`
  return verbose ? line + attributesText(attributes) : line
}

function rowsByParent(rows: readonly Row[]): ReadonlyMap<string, readonly object[]> {
  const parents = new Map<string, object[]>()
  for (const row of rows) {
    const entries = parents.get(row.parent) ?? []
    parents.set(row.parent, [...entries, { [row.uuid]: definitionJson(row) }])
  }
  return parents
}
