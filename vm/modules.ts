/** Kernel modules for a guest: the ones asked for, all that they need, unpacked and in the order to load them. */
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { ErrnoError } from '../src/lib/errno.ts'
import { execute } from './execute.ts'

export interface Module {
  readonly name: string
  /** Below `/lib/modules/<release>`, without `.xz`. */
  readonly path: string
  /** The paths of all it needs, in the manner of modules.dep. */
  readonly needs: readonly string[]
  readonly content: Buffer
}

/**
 * @param busybox that unpacks them
 * @param names   with `-` or `_`; what is built into the kernel needs nothing and is left out
 * @throws ENOENT this kernel has no such module
 */
export async function loadModules(
  modulesDir: string,
  busybox: string,
  names: readonly string[],
): Promise<Module[]> {
  if (names.length === 0) return []
  const table = parseModulesDep(await readFile(join(modulesDir, 'modules.dep'), 'utf8'))
  const builtin = new Set(
    (await readFile(join(modulesDir, 'modules.builtin'), 'utf8')).split('\n').map(moduleName),
  )
  const paths = new Map([...table.keys()].map((path) => [moduleName(path), path]))
  const order = new Set<string>()
  for (const name of names.map(moduleName)) {
    const path = paths.get(name)
    if (path === undefined) {
      if (builtin.has(name)) continue
      throw new ErrnoError('ENOENT', `${modulesDir}: no module ${name}`)
    }
    // modules.dep lists what is needed in reverse order of loading
    for (const needed of table.get(path)!.toReversed()) order.add(needed)
    order.add(path)
  }
  const modules = [...order].map(async (path) => ({
    name: moduleName(path),
    path: plain(path),
    needs: table.get(path)!.map(plain),
    content: await unpack(join(modulesDir, path), busybox),
  }))
  return Promise.all(modules)
}

/** What libkmod reads before it does anything, as lspci has it do. */
const INDEXES = ['dep', 'alias', 'symbols', 'builtin', 'builtin.alias'].map(
  (name) => `modules.${name}.bin`,
)

/** The indexes of all modules, some 3 MB: with them lspci in the guest tells which modules would drive a device. */
export async function loadIndexes(
  modulesDir: string,
): Promise<{ readonly name: string; readonly content: Buffer }[]> {
  return Promise.all(
    INDEXES.map(async (name) => ({ name, content: await readFile(join(modulesDir, name)) })),
  )
}

/** Reads modules.dep: each module's path, and the paths of all it needs. */
export function parseModulesDep(text: string): Map<string, string[]> {
  const lines = text.split('\n').filter((line) => line.includes(':'))
  return new Map(
    lines.map((line) => {
      const [path, needs] = line.split(':')
      return [path!, needs!.split(' ').filter((word) => word !== '')]
    }),
  )
}

/** As the kernel calls it: `8250_pci` for 'kernel/drivers/tty/serial/8250/8250-pci.ko.xz'. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_')
}

function plain(path: string): string {
  return path.replace(/\.xz$/, '')
}

async function unpack(file: string, busybox: string): Promise<Buffer> {
  return file.endsWith('.xz') ? execute(busybox, ['xzcat', file]) : readFile(file)
}
