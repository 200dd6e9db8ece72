/** Which QEMU can be a vfio-user client. */

/** The first with vfio-user-pci. */
export const QEMU_MINIMUM = [10, 1] as const
export const QEMU_DEVICE = 'vfio-user-pci'

/** The version in the first line of `--version`: '11.1.3' of 'QEMU emulator version 11.1.3 (Debian …)'. */
export function parseQemuVersion(output: string): string | undefined {
  return /^QEMU emulator version (\d+\.\d+(?:\.\d+)?)/m.exec(output)?.[1]
}

/** Whether a version of QEMU, or of its Debian package ('1:11.1.3+ds-1~bpo13+1'), has vfio-user-pci. */
export function recentEnough(version: string): boolean {
  const [major = 0, minor = 0] = version
    .replace(/^\d+:/, '')
    .split(/[.+~-]/)
    .map(Number)
  return major > QEMU_MINIMUM[0] || (major === QEMU_MINIMUM[0] && minor >= QEMU_MINIMUM[1])
}
