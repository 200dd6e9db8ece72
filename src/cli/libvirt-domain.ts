/** A domain of libvirt whose guest has an mdev: libvirt knows no vfio-user, so the device is an argument for its QEMU. */
import { vfioUserDevice } from '../host/vmm-arguments.ts'
import { ATTRIBUTE, formatXml } from './libvirt-xml.ts'

export interface DomainOptions {
  readonly name: string
  /** A whole number with `M` or `G`. */
  readonly memory: string
  /** `kvm`, or `qemu` where there is no KVM. */
  readonly type: 'kvm' | 'qemu'
  readonly sockets: readonly string[]
}

const UNITS: Readonly<Record<string, string>> = { M: 'MiB', G: 'GiB' }
const EMPTY = ''

/**
 * What `virsh define` takes: the least of a domain, with memory that is shared and cannot shrink.
 *
 * @see libvirt's formatdomain.html: memoryBacking; drvqemu.html: pass-through of arguments
 */
export function libvirtDomain({ name, memory, type, sockets }: DomainOptions): string {
  const words = sockets.flatMap((socket) => ['-device', vfioUserDevice(socket)])
  return formatXml({
    domain: {
      ...attributes({ type, 'xmlns:qemu': 'http://libvirt.org/schemas/domain/qemu/1.0' }),
      name,
      memory: {
        ...attributes({ unit: UNITS[memory.slice(-1)] ?? 'B' }),
        '#text': memory.slice(0, -1),
      },
      memoryBacking: {
        source: attributes({ type: 'memfd' }),
        access: attributes({ mode: 'shared' }),
      },
      vcpu: 1,
      os: { type: { ...attributes({ arch: 'x86_64', machine: 'q35' }), '#text': 'hvm' } },
      features: { acpi: EMPTY, apic: EMPTY }, // else there are none, and hardly a guest boots well
      'qemu:commandline': { 'qemu:arg': words.map((value) => attributes({ value })) },
    },
  })
}

function attributes(values: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [`${ATTRIBUTE}${name}`, value]),
  )
}
