/** A QEMU that can be a vfio-user client: the machine's own if it is recent enough, else one prepared from Debian. */
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import {
  parseQemuVersion,
  QEMU_DEVICE,
  QEMU_MINIMUM,
  recentEnough,
} from '../src/host/qemu-version.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import type { Apt } from './apt.ts'
import { type PrepareOptions, type RootRecipe, debianRoot } from './debian-root.ts'
import { execute } from './execute.ts'
import { LIBRARIES, preparedProgram } from './prepared-program.ts'

const PROGRAM = 'qemu-system-x86_64'
const PACKAGE = 'qemu-system-x86'

/** Suites that may have it, and what each builds upon. Tried in this order. */
const SUITES = [
  { suite: 'trixie-backports', with: ['trixie'] },
  { suite: 'sid', with: [] },
]

export interface Qemu {
  /** Program and leading arguments; what the VM is made of comes after them. */
  readonly argv: readonly string[]
  /** Added to the environment. */
  readonly env: Readonly<Record<string, string>>
  readonly version: string
  /** Whether it is ours and not the machine's. */
  readonly prepared: boolean
}

const qemuRoot: RootRecipe<{ version: string }> = {
  name: 'debian-qemu-1',
  title: 'QEMU',
  async choose(apt) {
    return [{ suite: await chooseSuite(apt), packages: [PACKAGE], dependencies: true }]
  },
  async finish(root) {
    const { argv, env } = preparedQemu(root, '')
    const version = await probe(argv, env)
    if (version === undefined) {
      throw new ErrnoError('ENOTSUP', `Debian package ${PACKAGE}: it cannot do ${QEMU_DEVICE}`)
    }
    return { version }
  },
}

/**
 * Finds QEMU in PATH, else in the cache, else prepares it there.
 *
 * @throws ENOENT it is nowhere; the message says what to install
 */
export async function findQemu(cache: string, options: PrepareOptions = {}): Promise<Qemu> {
  const installed = await which(PROGRAM)
  if (installed !== undefined) {
    const version = await probe([installed], {})
    if (version !== undefined) return { argv: [installed], env: {}, version, prepared: false }
    options.onProgress?.(
      `${installed}: older than ${QEMU_MINIMUM.join('.')} or without ${QEMU_DEVICE}, not used`,
    )
  }
  const { path, about } = await debianRoot(cache, qemuRoot, options)
  return preparedQemu(path, about.version)
}

async function chooseSuite(apt: Apt): Promise<string> {
  let refusal: unknown
  for (const { suite, with: others } of SUITES) {
    try {
      await apt.update([...others, suite])
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error
      refusal ??= error
      continue
    }
    const version = await apt.version(PACKAGE, suite)
    if (version !== undefined && recentEnough(version)) return suite
  }
  if (refusal !== undefined) throw refusal
  const suites = SUITES.map(({ suite }) => suite).join(' nor ')
  throw new ErrnoError(
    'ENOENT',
    `Debian package ${PACKAGE}: neither ${suites} has ${QEMU_MINIMUM.join('.')} or later; ` +
      `install such a ${PROGRAM} in PATH`,
  )
}

function preparedQemu(root: string, version: string): Qemu {
  const firmware = ['usr/share/seabios', 'usr/share/qemu', 'usr/lib/ipxe/qemu']
  return {
    argv: [
      ...preparedProgram(root, `usr/bin/${PROGRAM}`),
      ...firmware.flatMap((directory) => ['-L', join(root, directory)]),
    ],
    env: { QEMU_MODULE_DIR: join(root, LIBRARIES, 'qemu') },
    version,
    prepared: true,
  }
}

/** The version of a QEMU that will do; undefined if it will not, or does not run. */
async function probe(
  [program, ...args]: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  try {
    const output = await execute(program!, [...args, '--version'], { env })
    const version = parseQemuVersion(output.toString())
    if (version === undefined || !recentEnough(version)) return undefined
    const devices = await execute(program!, [...args, '-device', 'help'], { env })
    return devices.includes(`"${QEMU_DEVICE}"`) ? version : undefined
  } catch {
    return undefined
  }
}

async function which(program: string): Promise<string | undefined> {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    if (directory === '') continue
    const file = join(directory, program)
    const there = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (there) return file
  }
  return undefined
}
