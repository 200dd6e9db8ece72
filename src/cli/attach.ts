/** `mdevkit attach`: what gives active mdevs to a virtual machine, to be pasted. */
import { existsSync } from 'node:fs'
import { runtimeRoot } from '../host/paths.ts'
import { cloudHypervisorArguments, qemuArguments } from '../host/vmm-arguments.ts'
import type { MdevSnapshot } from '../http/model.ts'
import { ErrnoError } from '../lib/errno.ts'
import { shellLine } from '../lib/shell-line.ts'
import { libvirtDomain } from './libvirt-domain.ts'
import { type MachineView, viewMachine } from './machine-view.ts'
import { uuidFault, uuidOf } from './mdevctl-uuid.ts'

export interface AttachOptions {
  readonly vmm: 'qemu' | 'cloud-hypervisor' | 'libvirt'
  /** A whole number with `M` or `G`. */
  readonly memory: string
  readonly json?: boolean
}

const KVM = '/dev/kvm'

/**
 * One machine with all of these mdevs. It needs no daemon.
 *
 * @throws EINVAL no UUID · ENOENT it is not active · EBUSY a client has it, or another of its group · EEXIST it is named twice · EOPNOTSUPP it is run in the foreground · as viewMachine
 */
export async function attach(
  names: readonly string[],
  { vmm, memory, json = false }: AttachOptions,
): Promise<void> {
  const uuids = names.map(mustBeUuid)
  const twice = uuids.find((uuid, at) => uuids.indexOf(uuid) !== at)
  if (twice !== undefined) throw new ErrnoError('EEXIST', `mdev ${twice}: is named twice`)
  const view = await viewMachine(runtimeRoot())
  const mdevs = uuids.map((uuid) => activeMdev(view, uuid))
  checkGroups(view, mdevs)
  const sockets = mdevs.map(({ socket = '' }) => socket)
  if (vmm === 'libvirt') {
    const type = existsSync(KVM) ? 'kvm' : 'qemu'
    const name = `mdevkit-${uuids[0]}`
    const domain = libvirtDomain({ name, memory, type, sockets })
    process.stdout.write(json ? `${JSON.stringify({ vmm, uuids, sockets, domain })}\n` : domain)
    return
  }
  const words =
    vmm === 'qemu'
      ? ['qemu-system-x86_64', ...qemuArguments(sockets, memory)]
      : ['cloud-hypervisor', ...cloudHypervisorArguments(sockets, memory)]
  const [program, ...args] = words
  process.stdout.write(
    json
      ? `${JSON.stringify({ vmm, uuids, sockets, program, arguments: args })}\n`
      : `${shellLine(words)}\n`,
  )
}

function mustBeUuid(text: string): string {
  const uuid = uuidOf(text)
  if (uuid === undefined)
    throw new ErrnoError('EINVAL', `${JSON.stringify(text)} is no uuid: ${uuidFault(text)}`)
  return uuid
}

function activeMdev(
  { mdevs, foreground, daemon, unreachable }: MachineView,
  uuid: string,
): MdevSnapshot {
  const found = mdevs.filter((mdev) => mdev.uuid === uuid)
  const active = found.find((mdev) => mdev.active !== undefined)?.active
  if (active?.client !== undefined)
    throw new ErrnoError('EBUSY', `mdev ${uuid}: in use by ${active.client}, and has one client`)
  if (active?.socket !== undefined && active.state === 'active') return active
  if (active !== undefined) throw new ErrnoError('EAGAIN', `mdev ${uuid}: it is ${active.state}`)
  const [defined] = found
  if (defined !== undefined) {
    const why = defined.waits === undefined ? '' : ` (${defined.waits})`
    throw new ErrnoError(
      'ENOENT',
      `mdev ${uuid}: defined, and not active${why}; start it with: mdevkit start -u ${uuid}`,
    )
  }
  const runs = foreground.find((mdev) => mdev.uuid === uuid)
  if (runs !== undefined)
    throw new ErrnoError(
      'EOPNOTSUPP',
      `mdev ${uuid}: run in the foreground by pid ${runs.pid}, which has printed what gives it to a machine`,
    )
  if (daemon === undefined && unreachable !== undefined) throw unreachable
  throw new ErrnoError('ENOENT', `mdev ${uuid}: neither active nor defined`)
}

/**
 * The mdevs of a group belong to one machine: whoever leaves one out keeps others from it.
 *
 * @throws EBUSY another machine has one of them
 */
function checkGroups({ mdevs }: MachineView, chosen: readonly MdevSnapshot[]): void {
  const groups = new Set(chosen.map(({ group }) => group))
  const others = mdevs.flatMap(({ active }) =>
    active !== undefined &&
    groups.has(active.group) &&
    chosen.every(({ uuid }) => uuid !== active.uuid)
      ? [active]
      : [],
  )
  const taken = others.find(({ client }) => client !== undefined)
  if (taken !== undefined)
    throw new ErrnoError(
      'EBUSY',
      `group ${taken.group}: ${taken.client} has mdev ${taken.uuid} of it, and so the others, too`,
    )
  if (others.length === 0) return
  const list = others.map(({ uuid }) => uuid).join(' ')
  process.stderr.write(
    `mdevkit attach: the group has other mdevs, for this machine alone: ${list}\n`,
  )
}
