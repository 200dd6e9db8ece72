/** A daemon of its own with three parents, one of each ready-made policy, each a driver of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ApiClient, apiSocket } from '../src/http/client.ts'
import { ErrnoError } from '../src/lib/errno.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/mdevkit.js', import.meta.url))
/** By parent. */
const DRIVERS = {
  counted: 'per-type',
  budgeted: 'shared-budget',
  uniform: 'homogeneous',
}

export const PARENTS = Object.keys(DRIVERS)

const MOST_START_MS = 120_000

/** What an mdev's UUID is, by its number. */
export function uuidOf(index: number): string {
  return `${index.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`
}

export class ManagedMachine implements AsyncDisposable {
  readonly api: ApiClient
  /** Run-time root. */
  readonly root: string
  readonly #config: string
  #daemon: ChildProcess | undefined
  #hosts: readonly number[] = []

  /** Its parents are not there yet. @param directory where a directory for it is made */
  constructor(directory: string) {
    this.root = mkdtempSync(join(directory, 'm-')) // short: a socket's path has at most 107 bytes
    this.api = new ApiClient(apiSocket(this.root))
    this.#config = join(this.root, 'mdevkit.toml')
    const parents = Object.entries(DRIVERS).map(([parent, module]) => {
      const path = fileURLToPath(new URL(`managed/${module}.js`, import.meta.url))
      return `[parents.${parent}]\ndriver = ${JSON.stringify(path)}\n`
    })
    writeFileSync(this.#config, parents.join('\n'))
  }

  /** Defines so many mdevs to be started with the daemon, as files, evenly on all parents. */
  define(count: number): void {
    for (let index = 0; index < count; index++) {
      const parent = PARENTS[index % PARENTS.length]!
      const directory = join(this.root, 'etc/mdevctl.d', parent)
      mkdirSync(directory, { recursive: true })
      const definition = { mdev_type: `${parent}-small`, start: 'auto', attrs: [] }
      writeFileSync(join(directory, uuidOf(index)), JSON.stringify(definition, undefined, 2))
    }
  }

  /** Starts the daemon. @returns how long it took until all parents, and `count` mdevs, were there, ms */
  async start(count: number): Promise<number> {
    const began = performance.now()
    const daemon = spawn(process.execPath, [PROGRAM, 'daemon', '--config', this.#config], {
      env: { ...process.env, MDEVKIT_ROOT: this.root },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    this.#daemon = daemon
    await Promise.race([once(daemon.stdout, 'data'), this.#end(daemon)])
    await this.#allThere(count)
    const took = performance.now() - began
    this.#hosts = await this.#findHosts()
    return took
  }

  async #findHosts(): Promise<number[]> {
    return (await this.api.parents()).flatMap(({ pid }) => pid ?? [])
  }

  /** Process ids: the daemon's, and those of its hosts. */
  get pids(): { readonly daemon: number; readonly hosts: readonly number[] } {
    return { daemon: this.#daemon!.pid!, hosts: this.#hosts }
  }

  async #allThere(count: number): Promise<void> {
    let parents = new Set<string>()
    let mdevs = 0
    const there = () => parents.size === PARENTS.length && mdevs === count
    for await (const event of this.api.events(AbortSignal.timeout(MOST_START_MS))) {
      if (event.action === 'snapshot') {
        const present = event.parents.filter(({ pid }) => pid !== undefined)
        parents = new Set(present.map(({ name }) => name))
        mdevs = event.mdevs.filter(({ active }) => active?.state === 'active').length
      } else if ('MDEV_STATE' in event) {
        if (event.MDEV_STATE === 'registered') parents.add(event.parent)
        else parents.delete(event.parent)
      } else if (event.action === 'bind') mdevs++
      else if (event.action === 'unbind') mdevs--
      if (there()) return
    }
    throw new ErrnoError(
      'ETIMEDOUT',
      `daemon: ${parents.size} parents and ${mdevs} of ${count} mdevs`,
    )
  }

  async #end(daemon: ChildProcess): Promise<never> {
    const [code] = (await once(daemon, 'exit')) as [number | null]
    throw new ErrnoError('EIO', `daemon: ended with exit code ${code}`)
  }

  /** Ends everything: hosts outlive their daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    const daemon = this.#daemon
    if (daemon === undefined) return
    if (daemon.exitCode === null && daemon.signalCode === null) {
      if (this.#hosts.length === 0) this.#hosts = await this.#findHosts().catch(() => []) // it did not get that far
      const ended = once(daemon, 'exit')
      daemon.kill('SIGTERM')
      await ended
    }
    for (const pid of this.#hosts) killIfThere(pid)
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Memory that is this process's own, bytes: not what it shares with others. */
export function privateBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  let kib = 0
  for (const [, size] of rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm))
    kib += Number(size)
  return kib * 1024
}
