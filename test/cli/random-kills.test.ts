/**
 * kill -9 of the daemon, of its host or of both at random moments, while an administrator defines, starts, stops, modifies, undefines
 * and removes: what was defined is there, what ran is found or cleaned up, and nothing is left mounted, listening, locked or running.
 *
 * A run is repeated by its seed, which is told: `MDEVKIT_KILL_SEED=N`. `MDEVKIT_KILL_RUNS=N` makes more of them than two, from that seed on.
 * What is asked and killed is the same then, and the moments as near as the machine is.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { UnreachableError } from '../../src/http/unreachable-error.ts'
import { errnoCode, errnoOf } from '../../src/lib/errno.ts'
import type { Definition } from '../../src/mdev/definition.ts'
import { isLocked } from '../../src/os/file-lock.ts'
import { uuid } from '../mdev/support.ts'
import { Random } from '../support/fuzz-random.ts'
import { kill, processesOf } from '../support/root-processes.ts'
import { KilledMachine, killed } from './killed-machine.ts'

const RUNS = Number(process.env['MDEVKIT_KILL_RUNS'] ?? 2)
const SEED = Number(process.env['MDEVKIT_KILL_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
const STEPS = 10
const MDEVS = [1, 2, 3, 4].map((number) => uuid(number))
const PARENT = 'serial'
/** Refusals of a daemon that is there: the host has gone meanwhile, or what is asked does not fit what there is. */
const EXPECTED = new Set([
  'ENOENT',
  'EEXIST',
  'EAGAIN',
  'EBUSY',
  'ENODEV',
  'ECONNRESET',
  'ETIMEDOUT',
  'EINVAL', // what is not defined needs a parent
])

const ACTIONS = ['define', 'modify', 'undefine', 'start', 'make', 'stop'] as const
const VICTIMS = ['none', 'none', 'daemon', 'host', 'both'] as const

class Run {
  readonly #machine: KilledMachine
  readonly #random: Random
  readonly #log: string[] = []
  #daemon: ChildProcess
  /** What each may be defined as: what was asked when a daemon was killed may be done, or not. */
  readonly #defined = new Map<string, readonly (Definition | undefined)[]>(
    MDEVS.map((id) => [id, [undefined]]),
  )
  /** What somebody may have started since they stopped it, or what was 'auto' once. */
  readonly #started = new Set<string>()

  constructor(machine: KilledMachine, random: Random) {
    this.#machine = machine
    this.#random = random
    this.#daemon = machine.start()
  }

  /** What has been done, a line each. */
  get log(): string {
    return this.#log.join('\n')
  }

  async step(): Promise<void> {
    const random = this.#random
    const [action, id] = [random.pick(ACTIONS), random.pick(MDEVS)]
    const [victim, delay] = [random.pick(VICTIMS), random.below(80)]
    if (random.below(10) < 8) await this.#answering() // else it may still be starting
    this.#log.push(`${action} ${id}, and after ${delay} ms kill ${victim}`)
    await Promise.all([this.#ask(action, id), this.#kill(victim, delay)])
  }

  async #kill(victim: (typeof VICTIMS)[number], delay: number): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, delay))
    if (victim === 'host' || victim === 'both') for (const pid of this.#machine.hosts()) kill(pid)
    if (victim === 'daemon' || victim === 'both') {
      await killed(this.#daemon)
      this.#daemon = this.#machine.start()
    }
  }

  async #answering(): Promise<void> {
    while ((await this.#machine.api.health().catch(() => undefined)) === undefined) await pause()
  }

  async #ask(action: (typeof ACTIONS)[number], id: string): Promise<void> {
    const { api } = this.#machine
    const key = { parent: PARENT, uuid: id }
    const attributes = [['ports', this.#random.pick(['loopback', 'socket'])]] as const
    const start = this.#random.pick(['auto', 'manual'] as const)
    const definition = { type: 'mtty-1', start, attributes }
    switch (action) {
      case 'define':
        return this.#defining(id, definition, async () => api.define(key, definition))
      case 'modify':
        return this.#defining(id, definition, async () =>
          api.define(key, definition, { replace: true }),
        )
      case 'undefine':
        return this.#defining(id, undefined, async () => api.undefine(id))
      case 'start':
        this.#started.add(id)
        return void (await this.#end(api.start({ uuid: id })))
      case 'make':
        this.#started.add(id)
        return void (await this.#end(api.start({ ...key, type: 'mtty-1', attributes })))
      case 'stop':
        if ((await this.#end(api.stop(id))) === 'done') this.#started.delete(id)
    }
  }

  /** Notes what comes of it: done, not done, or one of both. */
  async #defining(
    id: string,
    next: Definition | undefined,
    ask: () => Promise<unknown>,
  ): Promise<void> {
    const before = this.#defined.get(id) ?? []
    if (before.some((each) => each?.start === 'auto')) this.#started.add(id)
    const end = await this.#end(ask())
    if (end === 'done') this.#defined.set(id, [next])
    else if (end === 'unknown') this.#defined.set(id, [...before, next])
  }

  /** @returns `refused` where a daemon has said so, `unknown` where none has said anything */
  async #end(asked: Promise<unknown>): Promise<'done' | 'refused' | 'unknown'> {
    try {
      await asked
      return 'done'
    } catch (error) {
      this.#log.push(`  ${String(error)}`)
      if (error instanceof UnreachableError) return 'unknown'
      assert.ok(EXPECTED.has(errnoCode(errnoOf(error))), String(error))
      return 'refused'
    }
  }

  /** Everything is as it should be, once all has settled. */
  async settled(): Promise<void> {
    const machine = this.#machine
    const { api } = machine
    await killed(this.#daemon) // what was stopped by hand, or defined since, is started by the next one
    this.#daemon = machine.start()
    await this.#answering()
    for (;;) {
      const [{ mdevs }, [parent]] = await Promise.all([api.list(), api.parents()])
      const auto = mdevs.filter(({ definition }) => definition?.start === 'auto')
      const isWhole = auto.every(({ active }) => active?.state === 'active')
      const hosts = machine.hosts() // that have lost a race for the name end by themselves
      if (isWhole && parent?.pid !== undefined && hosts.length === 1 && hosts[0] === parent.pid)
        break
      await pause()
    }
    const { mdevs, faults } = await api.list()
    assert.deepEqual(faults, [])
    for (const id of MDEVS) {
      const found = mdevs.find((mdev) => mdev.uuid === id)
      const may = this.#defined.get(id) ?? []
      const isOne = may.some((each) => JSON.stringify(each) === JSON.stringify(found?.definition))
      assert.ok(isOne, `${id}: ${JSON.stringify(found?.definition)}, of ${JSON.stringify(may)}`)
      const mayRun = this.#started.has(id) || may.some((each) => each?.start === 'auto')
      assert.ok(found?.active === undefined || mayRun, `${id}: runs, and nobody has started it`)
    }
    const active = mdevs.filter((mdev) => mdev.active !== undefined).map((mdev) => mdev.uuid)
    const root = (...names: readonly string[]) => join(machine.root, ...names)
    assert.deepEqual(entriesOf(root('devices')), active)
    const sockets = machine.listening().filter((path) => !/\/(?:port\d|groups)/.test(path))
    assert.deepEqual(
      sockets.toSorted(),
      [
        root('api.sock'),
        root('hosts', `${PARENT}.sock`),
        ...active.map((id) => root('devices', id, 'cntrl')),
      ].toSorted(),
    )
    assert.equal(machine.mounts().length, 1)
  }

  /** Ends daemon and host as an administrator does: then nothing is left. */
  async ended(): Promise<void> {
    const machine = this.#machine
    await killed(this.#daemon, 'SIGTERM')
    for (const pid of machine.hosts()) process.kill(pid, 'SIGTERM')
    while (processesOf(machine.root).length > 0) await pause()
    while (machine.listening().length > 0) await pause() // the kernel closes what a process had a moment later
    assert.deepEqual(machine.mounts(), [])
    assert.deepEqual(entriesOf(join(machine.root, 'devices')), [])
    for (const path of readdirSync(machine.root, { recursive: true, encoding: 'utf8' }))
      if (/(?:^|[./])lock$/.test(path))
        assert.equal(isLocked(join(machine.root, path)), false, path)
  }
}

/** None where nothing has ever been. */
function entriesOf(directory: string): readonly string[] {
  return existsSync(directory) ? readdirSync(directory).toSorted() : []
}

async function pause(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20))
}

for (let number = 0; number < RUNS; number++) {
  const seed = SEED + number
  test(`kill -9 at random moments, seed ${seed}`, async (context: TestContext) => {
    await using machine = new KilledMachine({ sysfs: true })
    const run = new Run(machine, new Random(seed))
    try {
      for (let step = 0; step < STEPS; step++) await run.step()
      await run.settled()
      await run.ended()
    } catch (error) {
      context.diagnostic(`MDEVKIT_KILL_SEED=${seed}\n${run.log}`)
      throw error
    }
  })
}
