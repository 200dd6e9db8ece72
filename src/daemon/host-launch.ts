/** How a host is started: within its limits, and with no more privileges than it needs, as far as this machine can do that. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { describeError, ErrnoError } from '../lib/errno.ts'
import { groupId, userIds } from '../os/user-name.ts'
import { cgroupBase, limitedCgroup } from './cgroup.ts'

export interface LaunchConfig {
  /** Most processor time, in percent of one processor. */
  readonly cpu?: number
  /** Most memory, bytes. */
  readonly memory?: number
  /** Whom it runs as; the daemon's user unless given. */
  readonly user?: string | number
  /** Its group; the user's own unless given. */
  readonly group?: string | number
  /** Names of capabilities to keep, such as `net_admin`. */
  readonly capabilities?: readonly string[]
}

/** A command, and what of the configuration it does not do. */
export interface Launch {
  readonly command: readonly string[]
  readonly warnings: readonly string[]
}

/** What a machine offers for it. */
export interface LaunchMeans {
  readonly isRoot: boolean
  /** Whether systemd is the init, and so manages cgroups. */
  readonly hasSystemd: boolean
  /** The directory for cgroups of ours, where they can be had without systemd. */
  readonly cgroups: string | undefined
  /** Where to look for programs. */
  readonly path: string
}

export function machineMeans(): LaunchMeans {
  return {
    isRoot: process.geteuid?.() === 0,
    hasSystemd: existsSync('/run/systemd/system'),
    cgroups: cgroupBase(),
    path: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
  }
}

/**
 * What a host of root keeps unless configured: reaching images of other users, locking guest memory, and seeing by
 * /proc whether a client may lock as much.
 */
const ROOT_KEEPS = ['dac_override', 'ipc_lock', 'sys_ptrace']

/**
 * @param command the host itself
 * @throws EINVAL there is no such user or group
 */
export function launchOf(
  parent: string,
  command: readonly string[],
  config: LaunchConfig,
  means: LaunchMeans = machineMeans(),
): Launch {
  const privileges = withPrivileges(command, config, means)
  const limits = withLimits(parent, privileges.command, config, means)
  return { command: limits.command, warnings: [...privileges.warnings, ...limits.warnings] }
}

/** By setpriv(1), as what it takes away must be gone before the host's first thread is there. */
function withPrivileges(
  command: readonly string[],
  { user, group, capabilities }: LaunchConfig,
  { isRoot, path }: LaunchMeans,
): Launch {
  const ids = identity(user, group)
  const warnings: string[] = []
  if (!isRoot && (ids !== undefined || (capabilities ?? []).length > 0))
    warnings.push('user, group and capabilities: only a daemon of root can give them')
  const setpriv = programIn(path, 'setpriv')
  if (setpriv === undefined) {
    if (isRoot && ids !== undefined)
      throw new ErrnoError('EINVAL', 'user: setpriv is not there to become it (util-linux)')
    warnings.push('privileges are not taken away: setpriv is not there (util-linux)')
    return { command, warnings }
  }
  if (!isRoot) return { command: [setpriv, '--no-new-privs', '--', ...command], warnings }
  const kept = capabilities ?? (ids === undefined || ids.uid === 0 ? ROOT_KEEPS : [])
  const sets = ['-all', ...kept.map((name) => `+${name.toLowerCase().replace(/^cap_/, '')}`)].join()
  const become =
    ids === undefined ? [] : [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups']
  return {
    command: [
      setpriv,
      ...become,
      `--inh-caps=${sets}`,
      `--ambient-caps=${sets}`,
      `--bounding-set=${sets}`,
      '--no-new-privs',
      '--',
      ...command,
    ],
    warnings,
  }
}

/** Whom a host runs as, where that is configured. @throws EINVAL */
export function identity(
  user: string | number | undefined,
  group: string | number | undefined,
): { readonly uid: number; readonly gid: number } | undefined {
  if (user === undefined) {
    if (group !== undefined) throw new ErrnoError('EINVAL', 'group: needs a user too')
    return undefined
  }
  const ids = userIds(user)
  if (ids === undefined) throw new ErrnoError('EINVAL', `user ${user}: not known here`)
  if (group === undefined) return ids
  const gid = groupId(group)
  if (gid === undefined) throw new ErrnoError('EINVAL', `group ${group}: not known here`)
  return { uid: ids.uid, gid }
}

/** By systemd where it is the init: cgroups are its own there. Else by cgroups of ours, where they can be written. */
function withLimits(
  parent: string,
  command: readonly string[],
  { cpu, memory }: LaunchConfig,
  { isRoot, hasSystemd, cgroups, path }: LaunchMeans,
): Launch {
  if (cpu === undefined && memory === undefined) return { command, warnings: [] }
  const run = hasSystemd ? programIn(path, 'systemd-run') : undefined
  if (run !== undefined) {
    const properties = [
      ...(cpu === undefined ? [] : [`--property=CPUQuota=${cpu}%`]),
      ...(memory === undefined ? [] : [`--property=MemoryMax=${memory}`]),
    ]
    const whose = isRoot ? [] : ['--user']
    const scope = ['--scope', '--collect', '--quiet', ...whose, ...properties]
    return { command: [run, ...scope, '--', ...command], warnings: [] }
  }
  try {
    if (cgroups === undefined)
      throw new ErrnoError(
        'EOPNOTSUPP',
        'neither systemd nor a cgroup v2 that we may write is here',
      )
    const directory = limitedCgroup(cgroups, parent, {
      ...(cpu === undefined ? {} : { cpu }),
      ...(memory === undefined ? {} : { memory }),
    })
    return { command: ['/bin/sh', '-c', ENTER, 'sh', directory, ...command], warnings: [] }
  } catch (error) {
    const keys = [cpu === undefined ? '' : 'cpu', memory === undefined ? '' : 'memory']
    const what = keys.filter((key) => key !== '').join(' and ')
    return { command, warnings: [`${what}: not limited: ${describeError(error)}`] }
  }
}

/** The shell goes in, and becomes the host: none of its memory is ever outside. */
const ENTER = 'echo $$ > "$1/cgroup.procs" || exit; shift; exec "$@"'

function programIn(path: string, name: string): string | undefined {
  return path
    .split(delimiter)
    .filter((directory) => directory !== '')
    .map((directory) => join(directory, name))
    .find((file) => existsSync(file))
}
