/** Control groups of ours, version 2, for machines whose init does not manage them. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ErrnoError } from '../lib/errno.ts'

/** <linux/…/cgroup-v2.rst>: cpu.max is a quota and a period, us. */
const PERIOD_US = 100_000

export interface CgroupLimits {
  /** Percent of one processor. */
  readonly cpu?: number
  /** Bytes. */
  readonly memory?: number
}

/** Where cgroup v2 is mounted; undefined where it is not. @param mounts the text of /proc/self/mountinfo */
export function cgroupBase(
  mounts = readFileSync('/proc/self/mountinfo', 'utf8'),
): string | undefined {
  for (const line of mounts.split('\n')) {
    const [mount = '', kind = ''] = line.split(' - ')
    if (kind.startsWith('cgroup2 ')) return mount.split(' ')[4]
  }
  return undefined
}

/**
 * A cgroup with limits, below `mdevkit` in the base; made if need be.
 *
 * @returns its directory
 * @throws EOPNOTSUPP a controller is not there: version 1 may have it · EACCES, EROFS, EBUSY
 */
export function limitedCgroup(base: string, name: string, { cpu, memory }: CgroupLimits): string {
  const wanted = [
    ...(cpu === undefined ? [] : ['cpu']),
    ...(memory === undefined ? [] : ['memory']),
  ]
  const ours = join(base, 'mdevkit')
  const directory = join(ours, name)
  const offered = readFileSync(join(base, 'cgroup.controllers'), 'utf8').trim().split(/\s+/)
  const missing = wanted.filter((controller) => !offered.includes(controller))
  if (missing.length > 0)
    throw new ErrnoError('EOPNOTSUPP', `${base} has no ${missing.join(' and no ')} controller`)
  const enable = wanted.map((controller) => `+${controller}`).join(' ')
  for (const [above, below] of [
    [base, ours],
    [ours, directory],
  ] as const) {
    writeFileSync(join(above, 'cgroup.subtree_control'), enable)
    if (!existsSync(below)) mkdirSync(below, { mode: 0o755 })
  }
  writeFileSync(join(directory, 'cpu.max'), `${quota(cpu)} ${PERIOD_US}`)
  if (memory !== undefined) writeFileSync(join(directory, 'memory.max'), String(memory))
  return directory
}

function quota(cpu: number | undefined): string {
  return cpu === undefined ? 'max' : String(Math.round((cpu / 100) * PERIOD_US))
}
