/** What mdevkit needs of a machine, and what it can use: each with what there is, and what to do where it is not. */
import { constants, existsSync, lstatSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { mdevDirectory, mdevSocket } from '../host/paths.ts'
import { ApiClient, apiSocket } from '../http/client.ts'
import { describeError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { shellQuote } from '../lib/shell-line.ts'
import { freshUuid } from '../lib/uuid.ts'
import type { DoctorSurroundings, Finding } from './doctor-finding.ts'
import { cloudHypervisor, isAllowed, mdevctl, PROJECT, qemu, which } from './doctor-programs.ts'

export interface Check {
  readonly name: string
  find(surroundings: DoctorSurroundings): Promise<Finding> | Finding
}

/** In the order in which they are shown: what is needed first. */
export const CHECKS: readonly Check[] = [
  { name: 'node', find: node },
  { name: 'ffi', find: ffi },
  { name: 'root', find: root },
  { name: 'daemon', find: daemon },
  { name: 'systemd', find: systemd },
  { name: 'qemu', find: qemu },
  { name: 'cloud-hypervisor', find: cloudHypervisor },
  { name: 'fuse', find: fuse },
  { name: 'memlock', find: memlock },
  { name: 'mdevctl', find: mdevctl },
]

/** package.json, engines. */
const NODE_MINIMUM = [20, 19] as const

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isRecent =
    major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1])
  const what = `Node ${process.versions.node}`
  return isRecent
    ? { state: 'ok', what }
    : {
        state: 'missing',
        what: `${what}, and ${NODE_MINIMUM.join('.')} or later is needed`,
        remedy: 'apt-get install -t trixie nodejs',
      }
}

/** Loads everything that a host is made of, the FFI library included. */
async function ffi(): Promise<Finding> {
  try {
    await import('../host/host.ts')
    return { state: 'ok', what: 'the FFI library loads: hosts can run' }
  } catch (error) {
    return {
      state: 'missing',
      what: `hosts cannot run: ${describeError(error)}`,
      remedy: `npm --prefix ${shellQuote(PROJECT)} ci`,
    }
  }
}

/** sun_path of sockaddr_un, without the NUL. */
const MAX_SOCKET_PATH = 107
const WRITABLE_BY_OTHERS = 0o002

function root({ root: path }: DoctorSurroundings): Finding {
  const longest = mdevSocket(mdevDirectory(path, freshUuid()))
  if (Buffer.byteLength(longest) > MAX_SOCKET_PATH)
    return {
      state: 'missing',
      what: `${path} is so deep that sockets in it have more than ${MAX_SOCKET_PATH} bytes`,
      remedy: 'export MDEVKIT_ROOT=/tmp/mdevkit',
    }
  const there = nearestThere(path)
  const stat = there === path ? lstatSync(there) : statSync(there) // above it may be links
  if (!stat.isDirectory())
    return { state: 'missing', what: `${there} is no directory`, remedy: `rm ${shellQuote(there)}` }
  const uid = ourUid()
  if (there === path && stat.uid !== uid && uid !== 0) {
    if (isAllowed(apiSocket(path), constants.W_OK))
      return { state: 'ok', what: `${path} belongs to user ${stat.uid}, whose daemon lets us in` }
    return {
      state: 'missing',
      what: `${path} belongs to user ${stat.uid}`,
      remedy: 'export MDEVKIT_ROOT="$HOME/.mdevkit"',
    }
  }
  if (there === path && (stat.mode & WRITABLE_BY_OTHERS) !== 0)
    return {
      state: 'missing',
      what: `${path} may be written to by others`,
      remedy: `chmod o-w ${shellQuote(path)}`,
    }
  if (!isAllowed(there, constants.W_OK | constants.X_OK))
    return {
      state: 'missing',
      what: `${there} may not be written to`,
      remedy: 'export MDEVKIT_ROOT="$HOME/.mdevkit"',
    }
  return { state: 'ok', what: there === path ? path : `${path}, to be made in ${there}` }
}

function nearestThere(path: string): string {
  return isThere(path) || path === '/' ? path : nearestThere(dirname(path))
}

/** A link that leads nowhere is there, and in the way. */
function isThere(path: string): boolean {
  try {
    lstatSync(path)
    return true
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') return false
    throw error
  }
}

function ourUid(): number {
  return process.geteuid?.() ?? -1
}

/** How long a daemon that is well takes at most to say so. */
const DAEMON_MS = 5000

async function daemon({ root: path, version }: DoctorSurroundings): Promise<Finding> {
  try {
    const health = await new ApiClient(apiSocket(path), { timeoutMs: DAEMON_MS }).health()
    if (health.version === version)
      return { state: 'ok', what: `${health.version} answers, pid ${health.pid}` }
    return {
      state: 'warn',
      what: `${health.version} answers, pid ${health.pid}, and this is mdevkit ${version}`,
      remedy: isSystemd()
        ? `${systemctl()} restart mdevkit`
        : `kill ${health.pid} # hosts go on; then: mdevkit daemon`,
    }
  } catch (error) {
    const isDenied = error instanceof Error && 'code' in error && error.code === 'EACCES'
    const letIn =
      'sudo mdevkit doctor # or have [api] in mdevkit.toml let you in: mode, group, read'
    return {
      state: 'warn',
      what: describeError(error),
      remedy: isDenied ? letIn : 'mdevkit daemon',
    }
  }
}

function isSystemd(): boolean {
  return existsSync('/run/systemd/system')
}

/** Root's daemon is the machine's, any other one its user's. */
function systemctl(): string {
  return ourUid() === 0 ? 'systemctl' : 'systemctl --user'
}

const UNIT_DIRECTORIES = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib']

function systemd({ home }: DoctorSurroundings): Finding {
  if (!isSystemd())
    return { state: 'ok', what: 'not the init of this machine: start mdevkit daemon as others are' }
  const isRoot = ourUid() === 0
  const own = join(home, '.config')
  const directories = isRoot
    ? UNIT_DIRECTORIES.map((base) => join(base, 'systemd/system'))
    : [own, ...UNIT_DIRECTORIES].map((base) => join(base, 'systemd/user'))
  const unit = directories
    .map((base) => join(base, 'mdevkit.service'))
    .find((path) => existsSync(path))
  if (unit !== undefined) return { state: 'ok', what: unit }
  const file = join(PROJECT, isRoot ? 'systemd' : 'systemd/user', 'mdevkit.service')
  const place = join(isRoot ? '/etc/systemd/system' : join(own, 'systemd/user'), 'mdevkit.service')
  return {
    state: 'warn',
    what: `no unit: the daemon does not start with ${isRoot ? 'the machine' : 'its user'}`,
    remedy: `install -D -m 644 ${shellQuote(file)} ${shellQuote(place)} && ${systemctl()} enable --now mdevkit`,
  }
}

function fuse({ path }: DoctorSurroundings): Finding {
  const lost = 'the tree of files below sys is not there'
  if (!isAllowed('/dev/fuse', constants.R_OK | constants.W_OK))
    return { state: 'warn', what: `/dev/fuse cannot be used: ${lost}`, remedy: 'modprobe fuse' }
  if (ourUid() === 0) return { state: 'ok', what: '/dev/fuse' } // mounted by the system call
  const program = which('fusermount3', path)
  if (program !== undefined) return { state: 'ok', what: `/dev/fuse, ${program}` }
  return {
    state: 'warn',
    what: `no fusermount3: ${lost}`,
    remedy: 'apt-get install fuse3',
  }
}

/** Drivers pin guest memory by locking it; with less than this, a guest of some size is too big. */
const ENOUGH_MEMLOCK = 1024 ** 3
const CAP_IPC_LOCK = 14n

function memlock(): Finding {
  const [, effective = '0'] =
    /^CapEff:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  if ((BigInt(`0x${effective}`) >> CAP_IPC_LOCK) & 1n)
    return { state: 'ok', what: 'no limit: CAP_IPC_LOCK' }
  const [, soft = '0'] =
    /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
  if (soft === 'unlimited') return { state: 'ok', what: 'no limit' }
  const limit = Number(soft)
  if (limit >= ENOUGH_MEMLOCK) return { state: 'ok', what: bytes(limit) }
  return {
    state: 'warn',
    what: `${bytes(limit)}: drivers cannot pin more of a guest's memory`,
    remedy: 'ulimit -l unlimited # or LimitMEMLOCK=infinity in the unit',
  }
}
