/** `mdevkit unregister` and `register`, with a daemon, a host and a client that are processes of their own. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { uuid } from '../mdev/support.ts'
import { ClientProcess } from '../support/client-process.ts'
import { Mdevkit } from '../support/mdevkit.ts'
import { until } from '../support/until.ts'
import { cli } from './cli.ts'
import { killed, KilledMachine } from './killed-machine.ts'

const STATUS = 'hint: mdevkit status shows the parents'

class Machine extends KilledMachine {
  readonly holder = new ClientProcess()
  socket = ''

  /** @param held whether the holder has an mdev of the parent */
  static async start({ held = false } = {}): Promise<Machine> {
    const machine = new Machine()
    await machine.whole([])
    await machine.up()
    if (held) await machine.hold()
    return machine
  }

  /** Its host, once it is there. */
  async up(): Promise<number> {
    return until(async () => (await this.api.parents())[0]?.pid ?? false, 'a host')
  }

  async hold(): Promise<void> {
    const attributes = [['ports', 'loopback']] as const
    const wanted = { parent: 'serial', type: 'mtty-1', uuid: uuid(1), attributes }
    this.socket = (await this.api.start(wanted)).socket ?? ''
    assert.equal(await this.holder.attach(this.socket), 'attached')
  }

  get who(): string {
    return `mdev ${uuid(1)}: in use by ${this.holder.who}`
  }

  /** `mdevkit unregister serial`, once it has said for whom it waits. */
  async waiting(...args: readonly string[]): Promise<Mdevkit> {
    const run = await Mdevkit.start(['unregister', 'serial', ...args], { root: this.root })
    await run.stderr.waitFor(/in use by/)
    return run
  }

  async told(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await cli(args, { root: this.root })
    assert.equal(stdout, '')
    return `${code}\n${stderr}`
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.holder.kill()
    await super[Symbol.asyncDispose]()
  }
}

test('unregister takes a parent away and register brings it back, saying nothing; twice is refused', async () => {
  await using machine = await Machine.start()
  assert.equal(await machine.told('unregister', 'serial'), '0\n')
  assert.deepEqual(machine.hosts(), [])
  const { stdout } = await cli(['status'], { root: machine.root })
  const back = 'unregistered; mdevkit register serial brings it back'
  assert.match(stdout, new RegExp(`serial +mtty +unregistered +- +0 +${back}`))
  assert.equal(
    await machine.told('unregister', 'serial'),
    `3\nmdevkit unregister: ENODEV: parent serial: ${back}\n${STATUS}\n`,
  )
  assert.equal(await machine.told('register', 'serial'), '0\n')
  const pid = await machine.up()
  assert.equal(
    await machine.told('register', 'serial'),
    `4\nmdevkit register: EEXIST: parent serial: its host is there, pid ${pid}\nhint: mdevkit status shows it\n`,
  )
  assert.equal(
    await machine.told('unregister', 'none'),
    `3\nmdevkit unregister: ENOENT: parent none: no host runs it\n${STATUS}\n`,
  )
  assert.match(await machine.told('register', 'none'), /^3\nmdevkit register: ENOENT: .*\nhint: /)
  for (const args of [[], ['a', 'b'], ['serial', '--timeout', 'soon'], ['serial', '--timeout=-1']])
    assert.match(await machine.told('unregister', ...args), /^2\n/)
})

test('register says why the host cannot be started, which is tried again', async () => {
  await using machine = await Machine.start()
  assert.equal(await machine.told('unregister', 'serial'), '0\n')
  const log = join(machine.root, 'hosts', 'serial.log')
  rmSync(log)
  mkdirSync(log)
  assert.match(
    await machine.told('register', 'serial'),
    /^1\nmdevkit register: EIO: parent serial: EISDIR: .*; it is tried again by itself\nhint: /,
  )
  rmdirSync(log)
  await machine.up()
})

test('unregister says who holds what until that has let go', async () => {
  await using machine = await Machine.start({ held: true })
  await using run = await machine.waiting()
  await using second = await machine.waiting()
  assert.equal(await machine.holder.detach(machine.socket), 'detached')
  for (const { ended } of [run, second]) {
    const { code, stderr } = await ended
    assert.deepEqual([code, stderr], [0, `mdevkit unregister: waiting: ${machine.who}\n`])
  }
  assert.deepEqual(machine.hosts(), [])
})

for (const [title, args, why] of [
  ['Ctrl-C', [], 'not waited for any longer'],
  ['--timeout', ['--timeout', '5'], 'still there after 5 s'],
] as const) {
  test(`unregister waits no longer after ${title}, and what it began goes on; --force ends that`, async () => {
    await using machine = await Machine.start({ held: true })
    await using run = await machine.waiting(...args.map((word) => word))
    if (title === 'Ctrl-C') process.kill(run.pid, 'SIGINT')
    const { code, signal, stderr } = await run.ended
    assert.deepEqual([code, signal], [6, null])
    assert.equal(
      stderr,
      `mdevkit unregister: waiting: ${machine.who}\n` +
        `mdevkit unregister: EBUSY: parent serial: ${why}, and goes once it can: ${machine.who}\n` +
        'hint: end what has it, or let go of it there; --force takes it away\n',
    )
    const { stdout } = await cli(['status'], { root: machine.root })
    assert.match(
      stdout,
      new RegExp(`serial +mtty +unregistering +\\d+ +1 +being unregistered: mdev`),
    )
    assert.match(await machine.told('register', 'serial'), /^6\nmdevkit register: EBUSY: /)
    assert.equal(await machine.told('unregister', 'serial', '--force'), '0\n')
    assert.deepEqual(machine.hosts(), [])
  })
}

test('unregister --force kills a host that hangs, and who waits for it goes on', async () => {
  await using machine = await Machine.start({ held: true })
  await using run = await machine.waiting()
  const [pid = 0] = machine.hosts()
  process.kill(pid, 'SIGSTOP')
  const patient = run.ended
  assert.match(await machine.told('unregister', 'serial', '--force'), /^0\n/)
  assert.equal((await patient).code, 0)
  assert.deepEqual(machine.hosts(), [])
})

test('unregister ends with 8 when the daemon is killed, and the next one goes on with it', async () => {
  await using machine = new Machine()
  const daemon = await machine.whole([])
  await machine.up()
  await machine.hold()
  await using run = await machine.waiting()
  await killed(daemon)
  assert.equal((await run.ended).code, 8)
  const next = machine.start()
  await once(next.stdout!, 'data')
  await until(async () => (await machine.api.parents())[0]?.state === 'unregistering')
  await machine.holder.detach(machine.socket)
  await until(() => machine.hosts().length === 0, 'the host to have ended')
  await until(
    async () => (await machine.api.parents())[0]?.waits?.startsWith('unregistered; ') === true,
  )
})
