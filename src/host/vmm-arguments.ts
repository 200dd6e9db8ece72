/** What to give a VMM so that its guest finds an mdev, shared memory included. */

/** Guest memory in the arguments; whoever pastes them may choose another size. */
const MEMORY = '1G'

/** The value of QEMU's `-device` (10.1 or later) for the mdev at `socket`. */
export function vfioUserDevice(socket: string): string {
  return JSON.stringify({ driver: 'vfio-user-pci', socket: { type: 'unix', path: socket } })
}

/** Arguments for qemu-system-x86_64 (10.1 or later). */
export function qemuArguments(socket: string): string[] {
  return [
    '-m',
    MEMORY,
    // The device reaches guest memory only where it is shared, and safely only where it cannot shrink.
    '-object',
    `memory-backend-memfd,id=mem,size=${MEMORY},share=on`,
    '-machine',
    'q35,memory-backend=mem',
    '-device',
    vfioUserDevice(socket),
  ]
}

/** Arguments for cloud-hypervisor. */
export function cloudHypervisorArguments(socket: string): string[] {
  return ['--memory', `size=${MEMORY},shared=on`, '--user-device', `socket=${socket}`]
}
