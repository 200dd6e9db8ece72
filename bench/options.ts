/** The benchmark's command line. */
import { parseArgs } from 'node:util'
import { ErrnoError } from '../src/lib/errno.ts'

export const USAGE = `usage: npm run bench -- [options]
  --list               name the parts and what they measure
  --only PART          measure this part; repeatable
  --quick              few, short rounds: to see that it works
  --rounds N           rounds (7)
  --also NAME=FILE     another build's bench/host.js to measure beside this one; repeatable
  --json               print everything as JSON, each sample included
`

export interface Options {
  /** Names of parts, in the order of `known`. */
  readonly parts: readonly string[]
  readonly list: boolean
  readonly quick: boolean
  readonly rounds: number
  readonly also: readonly { readonly name: string; readonly file: string }[]
  readonly json: boolean
}

/**
 * @param known names of all parts
 * @throws EINVAL a value that makes no sense · TypeError an option that there is not
 */
export function parseOptions(args: readonly string[], known: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      list: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      quick: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      also: { type: 'string', multiple: true, default: [] },
      json: { type: 'boolean', default: false },
    },
  })
  for (const part of values.only ?? []) {
    if (known.includes(part)) continue
    throw new ErrnoError('EINVAL', `--only ${part}: no such part; there are ${known.join(', ')}`)
  }
  return {
    parts: known.filter((part) => values.only?.includes(part) ?? true),
    list: values.list,
    quick: values.quick,
    rounds: integer('--rounds', values.rounds ?? (values.quick ? '2' : '7'), 1),
    also: values.also.map((value) => {
      const [, name, file] = /^([^=]+)=(.+)$/.exec(value) ?? []
      if (!name || !file) throw new ErrnoError('EINVAL', `--also ${value}: should be NAME=FILE`)
      return { name, file }
    }),
    json: values.json,
  }
}

function integer(option: string, value: string, least: number): number {
  const number = Number(value)
  if (Number.isInteger(number) && number >= least) return number
  throw new ErrnoError('EINVAL', `${option} ${value}: not an integer from ${least} up`)
}
