/** QEMU's command line for a guest: emulated, of few parts, and quick to boot. */

/** What the guest's machine is. */
export interface Machine {
  /** Further arguments for QEMU, as words or as groups of words. */
  readonly devices?: readonly string[] | readonly (readonly string[])[] | undefined
  /** 256 by default. */
  readonly memoryMiB?: number | undefined
  /** Whether the guest's memory is a memfd, which vfio-user can hand over; by default it is. */
  readonly sharedMemory?: boolean | undefined
  /** `q35` by default; options may follow. */
  readonly machine?: string | undefined
  readonly cpus?: number | undefined
  /** Whether there is an IOMMU, Intel's, that the guest's kernel puts the devices behind; by default there is none. */
  readonly iommu?: boolean | undefined
  /** Added to the kernel's command line, where a later word overrides an earlier one. */
  readonly extraKernelArgs?: readonly string[] | undefined
  /** Whether QEMU ends when the guest resets; by default it boots again. */
  readonly noReboot?: boolean | undefined
}

export interface MachineFiles {
  readonly kernel: string
  readonly initramfs: string
  /** Where QEMU is to listen. */
  readonly qmp: string
}

/** What each saves was measured on the way from 4.9 to 2.8 s. */
const KERNEL_ARGUMENTS = [
  'console=ttyS0',
  '8250.nr_uarts=4', // as many as the machine may have of its own: with more, PCI ports would not start at ttyS1
  'quiet',
  'tsc=reliable', // no calibration against other clocks
  'no_timer_check', // which fails now and then where the emulation is starved
  'mitigations=off',
  'rodata=off', // no splitting of large pages, no check of all page tables: 0.3 s
  'cryptomgr.notests',
]

/** Of all that can be emulated, little: a boot takes a sixth less than with `max`. Random numbers are there at once. */
const CPU = 'Nehalem,+rdrand'

/** The guest is to tell of maps too, not only of unmaps: that is how a vfio-user server hears of them. */
const IOMMU = 'intel-iommu,intremap=on,caching-mode=on'

export function qemuArguments(files: MachineFiles, machine: Machine): string[] {
  const { memoryMiB = 256, sharedMemory = true, cpus = 1, iommu = false, devices = [] } = machine
  const kernelArguments = [
    ...KERNEL_ARGUMENTS,
    ...(iommu ? ['intel_iommu=on'] : []),
    ...(machine.extraKernelArgs ?? []),
  ]
  const type = machine.machine ?? 'q35'
  const groups = [
    ['-nodefaults', '-no-user-config', '-display', 'none'],
    ['-accel', 'tcg', '-cpu', CPU, '-smp', String(cpus), '-m', `${memoryMiB}M`],
    sharedMemory ? ['-object', `memory-backend-memfd,id=mem,size=${memoryMiB}M,share=on`] : [],
    ['-machine', sharedMemory ? `${type},memory-backend=mem` : type],
    ['-kernel', files.kernel, '-initrd', files.initramfs],
    ['-append', kernelArguments.join(' ')],
    // signal=off: a Ctrl-C on a terminal goes to the guest
    ['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ['-qmp', `unix:${files.qmp},server=on,wait=off`],
    machine.noReboot ? ['-no-reboot'] : [],
    iommu ? ['-device', IOMMU] : [], // before the devices that are behind it
    devices.flat(),
  ]
  return groups.flat()
}
