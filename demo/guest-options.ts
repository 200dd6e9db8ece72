/** What `npm run guest` is asked for. */
import { parseArgs } from 'node:util'

export const USAGE = `usage: npm run guest -- DRIVER [options] [-- COMMAND]
  boots a small Linux with one mdev of DRIVER: a shipped driver's name, or the path of a module
  COMMAND                 run in the guest by sh -c, instead of a shell on this terminal
  -t, --type TYPE         what to create (default: the driver's first type)
  -s, --set KEY=VALUE     a setting of the mdev; may be given again
  --parent-set KEY=VALUE  a setting of the parent; may be given again
  --module NAME           a module of the guest's kernel to load, such as nvme; may be given again
  --file PATH[:GUEST]     a file for the guest, in /root unless GUEST says where; may be given again
  --memory MIB            of the guest (default: 256)
  -v, --verbose           log refused requests too
  --help                  show this
`

/** Less does not boot; more is a slip of the hand. */
const MEMORY = { least: 128, most: 1024 * 1024, usual: 256 } as const

export interface GuestCommandOptions {
  readonly driver: string
  /** For `mdevkit run`, in its words. */
  readonly runOptions: readonly string[]
  readonly modules: readonly string[]
  readonly files: readonly string[]
  readonly memoryMiB: number
  /** Undefined: a shell for people. */
  readonly command: string | undefined
}

/** Who used it wrongly is told how it is used. */
export class UsageFault extends Error {}

/** @throws UsageFault */
export function parseGuestOptions(args: readonly string[]): GuestCommandOptions | 'help' {
  const { values, positionals, tokens } = parse(args)
  if (values.help) return 'help'
  const end = tokens.find(({ kind }) => kind === 'option-terminator')?.index ?? args.length
  const words = args.slice(end + 1)
  const [driver, surplus] = positionals.slice(0, positionals.length - words.length)
  if (driver === undefined) throw new UsageFault('which driver? For example examples/scratchpad.ts')
  if (surplus !== undefined)
    throw new UsageFault(`${surplus}: what; a command for the guest stands behind --`)
  if (end < args.length && words.join('') === '')
    throw new UsageFault('no command behind --; leave -- out for a shell')
  const { type, set, 'parent-set': parentSet, verbose, module: modules, file: files } = values
  return {
    driver,
    runOptions: [
      ...(type === undefined ? [] : [`--type=${type}`]),
      ...set.map((setting) => `--set=${setting}`),
      ...parentSet.map((setting) => `--parent-set=${setting}`),
      ...(verbose ? ['--verbose'] : []),
    ],
    modules,
    files,
    memoryMiB: memoryOf(values.memory),
    command: words.length === 0 ? undefined : words.join(' '),
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      tokens: true,
      options: {
        type: { type: 'string', short: 't' },
        set: { type: 'string', short: 's', multiple: true, default: [] },
        'parent-set': { type: 'string', multiple: true, default: [] },
        module: { type: 'string', multiple: true, default: [] },
        file: { type: 'string', multiple: true, default: [] },
        memory: { type: 'string', default: String(MEMORY.usual) },
        verbose: { type: 'boolean', short: 'v', default: false },
        help: { type: 'boolean', default: false },
      },
    })
  } catch (error) {
    if (error instanceof TypeError) throw new UsageFault(error.message, { cause: error })
    throw error
  }
}

function memoryOf(text: string): number {
  const size = /^\d+$/.test(text) ? Number(text) : NaN
  if (size >= MEMORY.least && size <= MEMORY.most) return size
  throw new UsageFault(`--memory ${text}: expected MiB, ${MEMORY.least} or more, such as 512`)
}
