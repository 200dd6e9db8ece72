/** Mounting and unmounting by the system calls, and what is mounted where. */
import { readFileSync } from 'node:fs'
import * as mount from '../abi/mount.ts'
import { addressOf, cFunction, check } from './ffi.ts'

const cMount = cFunction('mount', 'int', ['ptr', 'ptr', 'ptr', 'u64', 'ptr'])
const cUmount2 = cFunction('umount2', 'int', ['ptr', 'int'])

/** What a mount is made of, as mount(2) takes it; `path` and `source` as they are, `options` as the file system has them. */
export interface MountRequest {
  readonly source: string
  readonly path: string
  readonly type: string
  readonly options: string
}

/**
 * Mounts a file system of which no program gets more rights, no device is a device and nothing is executed.
 *
 * @throws EPERM no CAP_SYS_ADMIN here · ENODEV the kernel does not know the type · ENOENT, ENOTDIR no such directory ·
 *         EINVAL it does not like the options
 */
export function mountFileSystem({ source, path, type, options }: MountRequest): void {
  const strings = [source, path, type, options].map((text) => Buffer.from(`${text}\0`))
  const [cSource, cPath, cType, cOptions] = strings.map(addressOf) as [
    number,
    number,
    number,
    number,
  ]
  const flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
  check(cMount(cSource, cPath, cType, flags, cOptions), `mount ${type} at ${path}`)
  strings.length = 0 // keeps them referenced until here
}

/**
 * Takes the uppermost mount at `path` out of the tree; who has something of it open goes on using it. Does not ask the
 * file system anything, so it cannot hang in one whose server is dead.
 *
 * @throws EINVAL nothing is mounted there · EPERM · ENOENT
 */
export function detachMount(path: string): void {
  const cPath = Buffer.from(`${path}\0`)
  check(cUmount2(addressOf(cPath), mount.MNT_DETACH | mount.UMOUNT_NOFOLLOW), `umount ${path}`)
  cPath.fill(0) // keeps it referenced until here
}

/**
 * Types of the file systems mounted at `path`, the uppermost last, as this process sees them; nothing of them is touched.
 *
 * @param path absolute, without links and dots
 */
export function mountsAt(path: string): string[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ')
      return unescapeOctal(before.split(' ')[4] ?? '') === path ? [after.split(' ')[0] ?? ''] : []
    })
}

/** `\040` is a blank: so the kernel writes blanks, tabs, newlines and backslashes. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}
