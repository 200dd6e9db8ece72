/** kill -9 of the daemon and of hosts at any moment: what was defined is there, what ran is found or cleaned up, and nothing is left. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { definitionsDirectory } from '../../src/daemon/daemon.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { isAnswered } from '../../src/os/unix-socket.ts'
import { uuid } from '../mdev/support.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { kill, killAllOf, processesOf } from '../support/root-processes.ts'
import { Scratch } from '../support/scratch.ts'

/** Moments, ms after the daemon was started or had answered: from before its first line to well after all has settled. */
const MOMENTS = [0, 40, 90, 150, 220, 300, 400, 550, 750, 1000, 1500]
const MDEVS = [1, 2, 3].map((number) => uuid(number))
const AUTO = { type: 'mtty-1', start: 'auto', attributes: [['ports', 'loopback']] } as const
const CONFIG = 'sysfs = false\n[parents.serial]\ndriver = "mtty"\n'

class Machine implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly api = new ApiClient(apiSocket(this.root))
  readonly store = new DefinitionStore(definitionsDirectory(this.root))
  readonly #config = this.scratch.write('mdevkit.toml', CONFIG)

  start(): ChildProcess {
    const program = join(PROJECT, 'bin/mdevkit.js')
    return spawn(process.execPath, [program, 'daemon', '--config', this.#config], {
      env: { ...process.env, MDEVKIT_ROOT: this.root },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  }

  /** Starts a daemon, and resolves once everything that is 'auto' is active. */
  async whole(): Promise<ChildProcess> {
    const daemon = this.start()
    await once(daemon.stdout!, 'data')
    await this.allActive()
    return daemon
  }

  /** Resolves once all of {@link MDEVS} are active, and nothing else is there. */
  async allActive(): Promise<void> {
    const events = this.api.events()
    for (;;) {
      await events.next()
      const { mdevs } = await this.api.list()
      const active = mdevs.filter((mdev) => mdev.active?.state === 'active')
      if (mdevs.length === MDEVS.length && active.length === MDEVS.length) break
    }
    await events.return()
  }

  /** Where somebody listens. */
  listening(): string[] {
    return readdirSync(this.root, { recursive: true, encoding: 'utf8', withFileTypes: true })
      .filter((entry) => entry.isSocket())
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => isAnswered(path))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await killAllOf(this.root)
    this.scratch[Symbol.dispose]()
  }
}

async function killed(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return
  const ended = once(daemon, 'exit')
  daemon.kill('SIGKILL')
  await ended
}

/** Pids of the hosts that bear the parent's name or want it. */
function hostsOf(root: string): readonly number[] {
  return processesOf(root).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('host')
    } catch {
      return false
    }
  })
}

test('kill -9 of the daemon at any moment leaves all that was defined, and one host that bears it', async () => {
  await using machine = new Machine()
  for (const id of MDEVS) machine.store.write({ parent: 'serial', uuid: id }, AUTO)
  for (const moment of MOMENTS) {
    const daemon = machine.start()
    await new Promise((resolve) => setTimeout(resolve, moment))
    await killed(daemon)
    if (moment % 4 === 0) for (const pid of hostsOf(machine.root)) kill(pid) // or both, every now and then
  }
  const daemon = await machine.whole()
  const { mdevs, faults } = await machine.api.list()
  assert.deepEqual(
    mdevs.map((mdev) => [mdev.uuid, mdev.active?.attributes]),
    MDEVS.map((id) => [id, AUTO.attributes]),
  )
  assert.deepEqual(faults, [])
  const [parent] = await machine.api.parents()
  assert.ok(parent?.pid !== undefined)
  await once(machineSettled(machine, parent.pid), 'done')
  const devices = readdirSync(join(machine.root, 'devices')).toSorted()
  assert.deepEqual(devices, MDEVS)
  await killed(daemon)
})

/** Hosts that lost the race for the name end by themselves. */
function machineSettled(machine: Machine, pid: number): EventTarget {
  const settled = new EventTarget()
  const look = () => {
    const hosts = hostsOf(machine.root)
    if (hosts.length === 1 && hosts[0] === pid) settled.dispatchEvent(new Event('done'))
    else setTimeout(look, 20)
  }
  setTimeout(look, 0)
  return settled
}

test('kill -9 of hosts at any moment: what is auto is back, what was not is gone, and nothing of it is left', async () => {
  await using machine = new Machine()
  for (const id of MDEVS) machine.store.write({ parent: 'serial', uuid: id }, AUTO)
  const daemon = await machine.whole()
  const transient = uuid(99)
  const { attributes } = AUTO
  await machine.api.start({ parent: 'serial', type: 'mtty-1', uuid: transient, attributes })
  for (const moment of [0, 100, 300]) {
    await new Promise((resolve) => setTimeout(resolve, moment))
    for (const pid of hostsOf(machine.root)) kill(pid)
  }
  await machine.allActive()
  assert.deepEqual(readdirSync(join(machine.root, 'devices')).toSorted(), MDEVS)

  await killed(daemon)
  await killAllOf(machine.root)
  // the kernel closes what a process had a moment after it is said to have ended
  while (machine.listening().length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
  const next = await machine.whole()
  assert.deepEqual(readdirSync(join(machine.root, 'devices')).toSorted(), MDEVS)
  await killed(next)
})
