/** Joined groups between processes: real hosts, real clients, and each of them killed. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import type { MdevSnapshot } from '../../src/mdev/state.ts'
import { ClientProcess } from '../support/client-process.ts'
import { leftIn, Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

const DRIVER = `${PROJECT}test/host/fixtures/peer.ts`
const GROUP = '83b8f4f2-509f-382f-3c1e-0000000000ff'
const JOIN = [['group', GROUP]] as const

const uuid = (number: number) => `83b8f4f2-509f-382f-3c1e-00000000000${number}`

/** Hosts below one root; killed, with the root, when the `using` scope ends. */
class Machine implements AsyncDisposable {
  readonly #scratch = new Scratch()
  readonly #hosts: RunningHost[] = []

  get root(): string {
    return this.#scratch.path
  }

  /** A parent, and one mdev of it in the group for each of `numbers`. */
  async host(name: string, numbers: readonly number[], answer = 'yes'): Promise<RunningHost> {
    const args = ['host', DRIVER, '--name', name, '--set', `answer=${answer}`]
    const process = await Mdevkit.start(args, { root: this.root })
    const [line] = await process.stdout.waitFor(/^.*\n/)
    const { control } = JSON.parse(line) as { control: string }
    const host = new RunningHost(process, await ControlClient.connect(control))
    this.#hosts.push(host)
    for (const number of numbers) await host.create(number)
    return host
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process, control } of this.#hosts) {
      control.close()
      await process[Symbol.asyncDispose]()
    }
    this.#scratch[Symbol.dispose]()
  }
}

class RunningHost {
  readonly process: Mdevkit
  readonly control: ControlClient

  constructor(process: Mdevkit, control: ControlClient) {
    this.process = process
    this.control = control
  }

  async create(number: number, attributes: readonly (readonly [string, string])[] = JOIN) {
    return this.control.create('peer-1', uuid(number), attributes)
  }

  mdev(number: number): MdevSnapshot {
    const mdev = this.control.parent.mdevs.find((one) => one.uuid === uuid(number))
    assert.ok(mdev)
    return mdev
  }

  socket(number: number): string {
    return this.mdev(number).socket ?? ''
  }

  /** The next that the driver says is this. */
  async says(line: string): Promise<void> {
    const [said] = await this.process.stdout.waitFor(/^(.*)\n/m)
    assert.equal(said.trim(), line)
  }

  async kill(): Promise<void> {
    await this.process.stop('SIGKILL')
  }

  async logs(pattern: RegExp): Promise<void> {
    await this.process.stderr.waitFor(pattern)
  }
}

describe('A group with members in two hosts', () => {
  test('has one number; a second process is EBUSY, one process may have both', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    assert.equal(x.mdev(1).group, y.mdev(2).group)
    await using first = new ClientProcess()
    await using second = new ClientProcess()
    assert.equal(await first.attach(x.socket(1)), 'attached')
    assert.equal(await second.attach(y.socket(2)), 'EBUSY')
    const user = `pid ${first.pid} \\(.*\\)`
    await y.logs(new RegExp(`refused: EBUSY: group ${x.mdev(1).group}: in use by ${user}\n`))
    assert.equal(await first.attach(y.socket(2)), 'attached')
    await assert.rejects(x.create(3), { code: 'EBUSY', message: /group \d+: in use by pid/ })
    await assert.rejects(x.control.changeAttributes(uuid(1), [['group', '']]), { code: 'EBUSY' })
    await first.detach(x.socket(1))
    assert.equal(await second.attach(x.socket(1)), 'EBUSY')
  })

  test('tells each driver once, with the whole group, of first open and last close', async () => {
    await using machine = new Machine()
    const [x, y, z] = await Promise.all([
      machine.host('x', [1, 3]),
      machine.host('y', [2]),
      machine.host('z', [4]),
    ])
    await using client = new ClientProcess()
    for (const socket of [y.socket(2), x.socket(1), x.socket(3), z.socket(4)])
      assert.equal(await client.attach(socket), 'attached')
    for (const socket of [y.socket(2), x.socket(1), x.socket(3)]) await client.detach(socket)
    assert.equal(await client.attach(y.socket(2)), 'attached')
    for (const socket of [y.socket(2), z.socket(4)]) await client.detach(socket)
    for (const [host, own] of [
      [x, '13'],
      [y, '2'],
      [z, '4'],
    ] as const) {
      await host.says(`open ${own} of 1234`)
      await host.says(`close ${own} of 1234`)
      assert.equal(host.process.stdout.text.split('\n').length, 4) // nothing else but its report
    }
  })

  test('is free again when its user is killed', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    const first = new ClientProcess()
    assert.equal(await first.attach(x.socket(1)), 'attached')
    await first.kill()
    await using second = new ClientProcess()
    assert.equal(await second.attach(y.socket(2)), 'attached') // even if x has not noticed yet
    for (const [host, own] of [
      [x, '1'],
      [y, '2'],
    ] as const) {
      for (const what of ['open', 'close', 'open']) await host.says(`${what} ${own} of 12`)
    }
  })

  test('is free again when the host is killed whose member was open, and has one member less', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    await using first = new ClientProcess()
    await using second = new ClientProcess()
    assert.equal(await first.attach(x.socket(1)), 'attached')
    await y.says('open 2 of 12')
    await x.kill()
    await y.says('close 2 of 12')
    assert.equal(await second.attach(y.socket(2)), 'attached')
    await y.says('open 2 of 2')
  })

  test('goes on when a host is killed whose member was not open', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    await using first = new ClientProcess()
    assert.equal(await first.attach(x.socket(1)), 'attached')
    await y.kill()
    const again = await machine.host('y', [])
    await assert.rejects(again.create(2), { code: 'EBUSY' })
    await first.detach(x.socket(1))
    await x.says('open 1 of 12')
    await x.says('close 1 of 12')
    assert.equal((await again.create(2)).group, x.mdev(1).group)
    assert.equal(await first.attach(again.socket(2)), 'attached')
    await x.says('open 1 of 12')
  })

  test('is not opened where a driver refuses, which the client is told', async () => {
    await using machine = new Machine()
    const [x] = await Promise.all([machine.host('x', [1]), machine.host('y', [2], 'no')])
    await using client = new ClientProcess()
    assert.equal(await client.attach(x.socket(1)), 'ENOSPC')
    await x.logs(/refused: ENOSPC: group \d+: parent y: no link left\n/)
    await x.says('open 1 of 12')
    await x.says('close 1 of 12')
  })

  test('is not opened where a driver never answers, in less than a VMM waits', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2], 'never')])
    await using client = new ClientProcess()
    for (const socket of [x.socket(1), y.socket(2)]) {
      assert.equal(await client.attach(socket), 'ETIMEDOUT')
      await x.says('open 1 of 12')
      await x.says('close 1 of 12')
    }
  })

  test('is opened without a host that dies while it is told', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2], 'die')])
    await using client = new ClientProcess()
    assert.equal(await client.attach(x.socket(1)), 'attached')
    assert.equal((await y.process.ended).signal, 'SIGKILL')
  })

  test('is not opened past a host that hangs, and is later', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    await using client = new ClientProcess()
    process.kill(y.process.pid, 'SIGSTOP')
    assert.equal(await client.attach(x.socket(1)), 'ETIMEDOUT')
    process.kill(y.process.pid, 'SIGCONT')
    assert.equal(await client.attach(x.socket(1)), 'attached')
  })

  test('ends in order: removal, unregistering, and nothing is left', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1, 3]), machine.host('y', [2])])
    await using client = new ClientProcess()
    assert.equal(await client.attach(x.socket(1)), 'attached')
    await y.control.unregister()
    await y.says('open 2 of 123')
    await y.says('close 2 of 123')
    assert.equal((await y.process.ended).code, 0)
    await assert.rejects(x.control.remove(uuid(1)), { code: 'EBUSY' })
    await x.control.remove(uuid(1), { force: true })
    await x.says('open 13 of 123')
    await x.says('close 13 of 123')
    await x.control.unregister()
    await x.process.ended
    assert.deepEqual(leftIn(machine.root), [])
  })

  test('is opened from both ends at once, by one process and by two, again and again', async () => {
    await using machine = new Machine()
    const [x, y] = await Promise.all([machine.host('x', [1]), machine.host('y', [2])])
    await using one = new ClientProcess()
    await using other = new ClientProcess()
    const [left, right] = [x.socket(1), y.socket(2)]
    for (let round = 0; round < 20; round++) {
      assert.deepEqual(await attachBoth(one, left, right), ['attached', 'attached'])
      await one.detach(left)
      await one.detach(right)
      const outcomes = await Promise.all([one.attach(left), other.attach(right)])
      for (const outcome of outcomes) assert.match(outcome, /^(attached|EBUSY)$/)
      assert.ok(outcomes.includes('attached'), outcomes.join())
      await one.detach(left)
      await other.detach(right)
      await settled(one, left) // from now on the group is free, or of `one`
    }
  })
})

/** Both requests are under way at once. */
async function attachBoth(client: ClientProcess, ...sockets: string[]): Promise<string[]> {
  return Promise.all(sockets.map(async (socket) => client.attach(socket)))
}

/** Attaches and detaches once more, when hosts have noticed that those before have gone. */
async function settled(client: ClientProcess, socket: string): Promise<void> {
  await until(async () => assert.equal(await client.attach(socket), 'attached'))
  await client.detach(socket)
}

describe('mdevkit run', () => {
  test('serves an mdev in a group, beside hosts', async () => {
    await using machine = new Machine()
    const x = await machine.host('x', [1])
    const args = [DRIVER, '--uuid', uuid(2), '--set', `group=${GROUP}`]
    await using run = await serve(args, { root: machine.root })
    assert.equal(run.report.group, x.mdev(1).group)
    await using first = new ClientProcess()
    await using second = new ClientProcess()
    assert.equal(await first.attach(run.report.socket), 'attached')
    assert.equal(await second.attach(x.socket(1)), 'EBUSY')
    assert.equal(await first.attach(x.socket(1)), 'attached')
    await x.says('open 1 of 12')
  })
})
