/** The modules of `src/abi`, whichever there are, as tables of layouts and numbers. */
import { readdirSync } from 'node:fs'
import type { Fields, Struct } from '../../src/lib/struct.ts'

export interface AbiModule {
  /** File name, such as `vfio.js`. */
  readonly name: string
  readonly structs: readonly Struct<Fields>[]
  readonly constants: ReadonlyMap<string, number | bigint>
}

/** All modules of `src/abi`, sorted by name. */
export async function abiModules(): Promise<AbiModule[]> {
  const folder = new URL('../../src/abi/', import.meta.url)
  const modules: AbiModule[] = []
  for (const name of readdirSync(folder).toSorted()) {
    // the compiler leaves the output of a source that has gone
    if (name.endsWith('.js') && hasSource(name)) {
      const exports = Object.entries((await import(new URL(name, folder).href)) as object)
      modules.push({
        name,
        structs: exports.map(([, value]) => value as unknown).filter(isStruct),
        constants: new Map(exports.filter(isNumeric)),
      })
    }
  }
  return modules
}

/** Field names of a layout with offset and size, padding left out. */
export function fieldsOf({ offsets, size }: Struct<Fields>) {
  const entries = Object.entries(offsets)
  return entries
    .map(([name, offset], index) => {
      const end = entries[index + 1]?.[1] ?? size
      return { name, offset, size: end - offset }
    })
    .filter(({ name }) => !/^_pad\d+$/.test(name))
}

function hasSource(name: string): boolean {
  const sources = readdirSync(new URL('../../../src/abi/', import.meta.url))
  return sources.includes(name.replace(/js$/, 'ts'))
}

function isNumeric(entry: [string, unknown]): entry is [string, number | bigint] {
  return typeof entry[1] === 'number' || typeof entry[1] === 'bigint'
}

function isStruct(value: unknown): value is Struct<Fields> {
  return typeof value === 'object' && value !== null && 'offsets' in value && 'view' in value
}
