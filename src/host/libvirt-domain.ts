/** A domain of libvirt whose guest has an mdev: libvirt knows no vfio-user, so the device is an argument for its QEMU. */
import { vfioUserDevice } from './vmm-arguments.ts'

export interface DomainOptions {
  readonly name: string
  /** A whole number with `M` or `G`. */
  readonly memory: string
  /** `kvm`, or `qemu` where there is no KVM. */
  readonly type: 'kvm' | 'qemu'
  readonly sockets: readonly string[]
}

const UNITS: Readonly<Record<string, string>> = { M: 'MiB', G: 'GiB' }

/**
 * What `virsh define` takes: the least of a domain, with memory that is shared and cannot shrink.
 *
 * @see libvirt's formatdomain.html: memoryBacking; drvqemu.html: pass-through of arguments
 */
export function libvirtDomain({ name, memory, type, sockets }: DomainOptions): string {
  const devices = sockets.flatMap((socket) => ['-device', vfioUserDevice(socket)])
  return [
    `<domain type='${type}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>`,
    `  <name>${escaped(name)}</name>`,
    `  <memory unit='${UNITS[memory.slice(-1)] ?? 'B'}'>${memory.slice(0, -1)}</memory>`,
    '  <memoryBacking>',
    "    <source type='memfd'/>",
    "    <access mode='shared'/>",
    '  </memoryBacking>',
    '  <vcpu>1</vcpu>',
    '  <os>',
    "    <type arch='x86_64' machine='q35'>hvm</type>",
    '  </os>',
    '  <features>',
    '    <acpi/>', // else there is none, and hardly a guest boots well
    '    <apic/>',
    '  </features>',
    '  <qemu:commandline>',
    ...devices.map((word) => `    <qemu:arg value='${escaped(word)}'/>`),
    '  </qemu:commandline>',
    '</domain>',
    '',
  ].join('\n')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>']/g, (character) => ENTITIES[character] ?? character)
}
