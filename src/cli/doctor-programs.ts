/** Programs that mdevkit works with: which of them are there, and whether they will do. */
import { execFile } from 'node:child_process'
import { accessSync, constants, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parseQemuVersion, QEMU_DEVICE, QEMU_MINIMUM, recentEnough } from '../host/qemu-version.ts'
import { describeError } from '../lib/errno.ts'
import { shellQuote } from '../lib/shell-line.ts'
import type { DoctorSurroundings, Finding } from './doctor-finding.ts'

/** Longer than any program takes to say its version. */
const PATIENCE_MS = 20_000
/** Where mdevkit is. */
export const PROJECT = fileURLToPath(new URL('../../..', import.meta.url))

const NEEDED_QEMU = `${QEMU_MINIMUM.join('.')} or later with ${QEMU_DEVICE}`
const QEMU_REMEDY =
  'apt-get install -t trixie-backports qemu-system-x86 # Debian 13 with backports among its sources; in a clone, npm run guest brings its own'

export async function qemu({ path }: DoctorSurroundings): Promise<Finding> {
  const program = which('qemu-system-x86_64', path)
  if (program === undefined)
    return { state: 'warn', what: `not found; ${NEEDED_QEMU} is wanted`, remedy: QEMU_REMEDY }
  try {
    const version = parseQemuVersion(await said(program, '--version'))
    const what = `${program} ${version ?? 'of no version'}`
    if (version === undefined || !recentEnough(version))
      return { state: 'warn', what: `${what}; ${NEEDED_QEMU} is wanted`, remedy: QEMU_REMEDY }
    const devices = await said(program, '-device', 'help')
    if (devices.includes(`"${QEMU_DEVICE}"`)) return { state: 'ok', what }
    return { state: 'warn', what: `${what} was built without ${QEMU_DEVICE}`, remedy: QEMU_REMEDY }
  } catch (error) {
    return { state: 'warn', what: `${program}: ${firstLine(error)}`, remedy: QEMU_REMEDY }
  }
}

export async function cloudHypervisor({ path }: DoctorSurroundings): Promise<Finding> {
  const program = which('cloud-hypervisor', path)
  const remedy = 'see https://www.cloudhypervisor.org: Debian has no package of it'
  if (program === undefined) return { state: 'warn', what: 'not found', remedy }
  try {
    const [version = ''] = (await said(program, '--version')).trim().split('\n')
    return { state: 'ok', what: `${program}, ${version}` }
  } catch (error) {
    return { state: 'warn', what: `${program}: ${firstLine(error)}`, remedy }
  }
}

export function mdevctl({ path, root: base }: DoctorSurroundings): Finding {
  const program = which('mdevctl', path)
  const ours = realpathSync(join(PROJECT, 'bin/mdevkit.js'))
  if (program === undefined)
    return { state: 'ok', what: "not there; a link named so to mdevkit takes mdevctl's place" }
  if (realpathSync(program) === ours) return { state: 'ok', what: `${program} is mdevkit` }
  return {
    state: 'warn',
    what: `${program} is another program, which manages the kernel's mdevs`,
    remedy: `alias mdevctl=mdevkit # or: MDEVCTL_ENV_ROOT=${shellQuote(base)} mdevctl`,
  }
}

/** Where a program is. @param path directories, as in PATH */
export function which(program: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, program))
    .find((file) => isAllowed(file, constants.X_OK))
}

/** @param mode of access(2) */
export function isAllowed(path: string, mode: number): boolean {
  try {
    accessSync(path, mode)
    return true
  } catch {
    return false
  }
}

/** What a program prints. @throws it fails, or takes too long */
async function said(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, args, {
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
  })
  return stdout
}

function firstLine(error: unknown): string {
  return describeError(error).split('\n')[0] ?? ''
}
