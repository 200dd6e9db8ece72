/** A machine whose daemon and hosts are processes that can be killed at any moment, and what is left of it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { definitionsDirectory } from '../../src/daemon/daemon.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { isAnswered } from '../../src/os/unix-socket.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { killAllOf, processesOf } from '../support/root-processes.ts'
import { Scratch } from '../support/scratch.ts'

export class KilledMachine implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly api = new ApiClient(apiSocket(this.root))
  readonly store = new DefinitionStore(definitionsDirectory(this.root))
  readonly #config: string

  /** @param sysfs whether the tree is mounted, too */
  constructor({ sysfs = false } = {}) {
    const config = `sysfs = ${sysfs}\nscripts = []\n[parents.serial]\ndriver = "mtty"\n`
    this.#config = this.scratch.write('mdevkit.toml', config)
  }

  start(): ChildProcess {
    const program = join(PROJECT, 'bin/mdevkit.js')
    return spawn(process.execPath, [program, 'daemon', '--config', this.#config], {
      env: { ...process.env, MDEVKIT_ROOT: this.root },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  }

  /** Starts a daemon, and resolves once these mdevs are active, and nothing else is there. */
  async whole(uuids: readonly string[]): Promise<ChildProcess> {
    const daemon = this.start()
    await once(daemon.stdout!, 'data')
    await this.allActive(uuids)
    return daemon
  }

  /** Resolves once all of these are active, and nothing else is there. */
  async allActive(uuids: readonly string[]): Promise<void> {
    const events = this.api.events()
    for (;;) {
      await events.next()
      const { mdevs } = await this.api.list()
      const active = mdevs.filter((mdev) => mdev.active?.state === 'active')
      if (mdevs.length === uuids.length && active.length === uuids.length) break
    }
    await events.return()
  }

  /** Where somebody listens; below the tree nobody does. */
  listening(): string[] {
    return readdirSync(this.root)
      .filter((name) => name !== 'sys')
      .flatMap((name) => socketsAt(join(this.root, name)))
      .filter((path) => isAnswered(path))
  }

  /** What is mounted below the root, as this process sees it. */
  mounts(): string[] {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(` ${this.root}/`))
  }

  /** Pids of the hosts that bear the parent's name or want it. */
  hosts(): readonly number[] {
    return processesOf(this.root).filter((pid) => argumentsOf(pid).includes('host'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await killAllOf(this.root)
    this.scratch[Symbol.dispose]()
  }
}

export async function killed(
  daemon: ChildProcess,
  signal: NodeJS.Signals = 'SIGKILL',
): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return
  const ended = once(daemon, 'exit')
  daemon.kill(signal)
  await ended
}

function socketsAt(path: string): readonly string[] {
  try {
    return readdirSync(path, { recursive: true, encoding: 'utf8', withFileTypes: true })
      .filter((entry) => entry.isSocket())
      .map((entry) => join(entry.parentPath, entry.name))
  } catch {
    return [path] // no directory
  }
}

function argumentsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended
  }
}
