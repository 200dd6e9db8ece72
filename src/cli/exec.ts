/** `mdevkit exec`: runs a command that finds the tree in /sys, where the kernel would have it, and nobody else does. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { runtimeRoot } from '../host/paths.ts'
import { ErrnoError } from '../lib/errno.ts'

/**
 * Run by root of a mount namespace of its own: `sh -c SCRIPT sh ROOT UID GID COMMAND…`.
 *
 * A fresh /sys is put together from binds: all of the machine's, but for what the tree has. Fd 4 is the machine's /sys, which is
 * hidden then; fd 3 is told when all is in place, after which everything is the command's.
 */
const SCRIPT = String.raw`
set -e
root=$1 uid=$2 gid=$3; shift 3
tree=$root/sys
bind() {
  mkdir -p "$2"
  mount --no-canonicalize --rbind "$1" "$2"
}
# merged DIRECTORY: what the tree has in it, and what only the machine has
merged() {
  mkdir -p "/sys/$1"
  for path in "$tree/$1"/* "/proc/self/fd/4/$1"/*; do
    name=$(basename "$path")
    if [ -d "$path" ] && [ ! -L "$path" ] && [ ! -e "/sys/$1/$name" ]; then
      bind "$path" "/sys/$1/$name"
    fi
  done
}
cwd=$(pwd)
exec 4</sys
cd /
mount --types tmpfs --options mode=0755,nosuid,nodev,noexec mdevkit /sys
merged bus; merged class; merged devices/virtual; merged devices; merged kernel
merged .
# A mdevctl that looks in /etc is to find the same definitions as the daemon.
if [ -d /etc/mdevctl.d ] && [ -d "$root/etc/mdevctl.d" ]; then
  exec 5</etc/mdevctl.d
  mount --bind "$root/etc/mdevctl.d" /etc/mdevctl.d
  # where mdevctl 1.2 has its scripts, and does not run without
  if [ -d /proc/self/fd/5/scripts.d ]; then
    bind /proc/self/fd/5/scripts.d /etc/mdevctl.d/scripts.d
  fi
  exec 5<&-
fi
exec 4<&-
cd "$cwd"
echo ready >&3
exec 3>&-
[ "$uid" = 0 ] && exec "$@"
exec unshare --user --map-user="$uid" --map-group="$gid" -- "$@"
`

/** Signals to us that are for the command. A terminal sends its own to both. */
const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

/**
 * Runs a command to its end, which becomes ours.
 *
 * @throws ENOENT no tree is mounted, or no `unshare` is there · EPERM no namespace can be had here
 */
export async function exec(command: readonly string[]): Promise<void> {
  const root = runtimeRoot()
  if (!existsSync(join(root, 'sys/class/mdev_bus'))) {
    const remedy = `start mdevkit daemon, and see what it says of sysfs`
    throw new ErrnoError('ENOENT', `exec: no tree at ${join(root, 'sys')}: ${remedy}`)
  }
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0]
  const namespaces = uid === 0 ? [] : ['--user', '--map-root-user']
  const args = ['--mount', '--propagation', 'private', ...namespaces, '--']
  const child = spawn(
    'unshare',
    [...args, 'sh', '-c', SCRIPT, 'sh', root, `${uid}`, `${gid}`, ...command],
    { stdio: ['inherit', 'inherit', 'inherit', 'pipe'] },
  )
  const pass = (signal: NodeJS.Signals) => void child.kill(signal)
  for (const signal of PASSED_ON) process.on(signal, pass)
  let ready = false
  ;(child.stdio[3] as Readable).on('data', () => (ready = true))
  try {
    await once(child, 'close')
  } catch (error) {
    const missing = 'exec: no unshare in PATH: install util-linux'
    throw new ErrnoError('ENOENT', missing, { cause: error })
  } finally {
    for (const signal of PASSED_ON) process.off(signal, pass)
  }
  const { exitCode, signalCode } = child
  if (!ready && signalCode === null) {
    const remedy =
      uid === 0
        ? 'it takes CAP_SYS_ADMIN, which a container must be given'
        : 'user namespaces must be allowed (sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile), or run it as root'
    throw new ErrnoError('EPERM', `exec: no mount namespace: ${remedy}`)
  }
  if (signalCode === null) process.exitCode = exitCode ?? 1
  else endBy(signalCode)
}

/** Ends this process as the command has ended. */
function endBy(signal: NodeJS.Signals): void {
  process.exitCode = 128 + constants.signals[signal] // where we outlive the signal
  process.kill(process.pid, signal)
}
