/** What to give a VMM so that its guest finds an mdev, shared memory included. */

/** Guest memory in the arguments; whoever pastes them may choose another size. */
const MEMORY = '1G'

/** The value of QEMU's `-device` (10.1 or later) for the mdev at `socket`. */
export function vfioUserDevice(socket: string): string {
  return JSON.stringify({ driver: 'vfio-user-pci', socket: { type: 'unix', path: socket } })
}

/**
 * Arguments for qemu-system-x86_64 (10.1 or later).
 *
 * @param sockets of each mdev that the guest is to have
 * @param memory  of the guest, such as `512M`
 */
export function qemuArguments(sockets: string | readonly string[], memory = MEMORY): string[] {
  return [
    '-m',
    memory,
    // The device reaches guest memory only where it is shared, and safely only where it cannot shrink.
    '-object',
    `memory-backend-memfd,id=mem,size=${memory},share=on`,
    '-machine',
    'q35,memory-backend=mem',
    ...[sockets].flat().flatMap((socket) => ['-device', vfioUserDevice(socket)]),
  ]
}

/** Arguments for cloud-hypervisor, as {@link qemuArguments}. */
export function cloudHypervisorArguments(
  sockets: string | readonly string[],
  memory = MEMORY,
): string[] {
  const devices = [sockets].flat().map((socket) => `socket=${socket}`)
  // one option with many values: given again, it would be refused
  return ['--memory', `size=${memory},shared=on`, '--user-device', ...devices]
}
