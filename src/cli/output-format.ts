/** What listings are printed as, `-o` of every command that has one. */

/** For people; as the API has it; the same as YAML; names alone, a line each. */
export const LISTING_FORMATS = ['table', 'json', 'yaml', 'name'] as const

export type ListingFormat = (typeof LISTING_FORMATS)[number]

export interface Printable {
  table(): string
  /** As the API has it. */
  readonly value: unknown
  readonly names: readonly string[]
}

export async function formatted(format: ListingFormat, printable: Printable): Promise<string> {
  switch (format) {
    case 'table':
      return printable.table()
    case 'json':
      return json(printable.value)
    case 'yaml':
      return (await import('yaml')).stringify(printable.value, { aliasDuplicateObjects: false })
    case 'name':
      return printable.names.map((name) => `${name}\n`).join('')
  }
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}
