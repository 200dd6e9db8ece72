/** `mdevkit daemon`: real processes, and what a guest feels of the daemon's end: nothing. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hostSocket } from '../../src/host/paths.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import type { MachineEvent } from '../../src/http/events.ts'
import { closeFd } from '../../src/os/fd.ts'
import { listenUnix } from '../../src/os/unix-socket.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { DatagramReceiver } from '../support/datagrams.ts'
import { Mdevkit, PROJECT } from '../support/mdevkit.ts'
import { killAllOf } from '../support/root-processes.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
const OTHER = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002'
const LOOPBACK = [['ports', 'loopback']] as const
const AUTO = { type: 'mtty-2', start: 'auto', attributes: LOOPBACK } as const

type MdevList = Awaited<ReturnType<ApiClient['list']>>

/** A root with a parent named `serial`, its daemons, and in the end its host's end. */
class Machine implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly config = this.scratch.write('mdevkit.toml', '[parents.serial]\ndriver = "mtty"\n')
  readonly api = new ApiClient(apiSocket(this.root))
  readonly #daemons: Mdevkit[] = []

  /** Resolves when it serves. */
  async daemon(env: Readonly<Record<string, string>> = {}): Promise<Mdevkit> {
    const { root } = this
    const daemon = await Mdevkit.start(['daemon', '--config', this.config], { root, env })
    this.#daemons.push(daemon)
    const [line] = await daemon.stdout.waitFor(/^.*\n/)
    assert.deepEqual(JSON.parse(line), { api: apiSocket(this.root) })
    return daemon
  }

  /** Listens from now on. @returns what waits for an event with that action */
  async listening(): Promise<(action: MachineEvent['action']) => Promise<void>> {
    const events = this.api.events()
    await events.next()
    return async (action) => {
      for await (const event of events) if (event.action === action) return
    }
  }

  /** Resolves once the host is there. */
  async up(): Promise<void> {
    for await (const event of this.api.events()) {
      const parents =
        event.action === 'snapshot' ? event.parents : 'view' in event ? [event.view] : []
      if (parents.some((parent) => parent?.pid !== undefined)) return
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const daemon of this.#daemons) await daemon.stop('SIGKILL')
    await killAllOf(this.root) // a host too that is only just starting
    this.scratch[Symbol.dispose]()
  }
}

test('a guest does not feel that the daemon is killed, and the next one finds all as it was', async () => {
  await using machine = new Machine()
  const { api, root } = machine
  const first = await machine.daemon()
  await machine.up()
  await api.define({ parent: 'serial', uuid: UUID }, AUTO)
  await api.start({ parent: 'serial', type: 'mtty-1', uuid: OTHER, attributes: LOOPBACK })
  const { socket = '' } = await api.start({ uuid: UUID })
  const guest = await Client.attach(socket)
  let reads = 0
  const idle = new AbortController()
  const used = (async () => {
    for (; !idle.signal.aborted; reads++)
      assert.equal(await guest.readRegister(7, 0, 4), 0x3253_4348)
  })()
  const before = [await api.list(), await api.parents()]
  assert.deepEqual(
    (before[0] as MdevList).mdevs.map(({ active }) => active?.client === undefined),
    [false, true],
  )

  await first.stop('SIGKILL')
  await assert.rejects(api.list(), {
    code: 'ECONNREFUSED',
    message: /start it with: mdevkit daemon/,
  })
  const readsWithout = reads
  await machine.daemon()
  assert.ok(reads > readsWithout)
  assert.deepEqual([await api.list(), await api.parents()], before)

  idle.abort()
  await used
  const told = await machine.listening()
  guest.detach()
  await told('detach')
  await api.stop(UUID)
  assert.ok(!existsSync(join(root, 'devices', UUID)))
})

test('daemon starts what is auto again after its host is killed', async () => {
  await using machine = new Machine()
  const { api } = machine
  await machine.daemon()
  await machine.up()
  await api.define({ parent: 'serial', uuid: UUID }, AUTO)
  const [parent] = await api.parents()
  const told = await machine.listening()
  assert.ok(parent?.pid !== undefined)
  process.kill(parent.pid, 'SIGKILL')
  await told('bind')
  const [mdev] = (await api.list()).mdevs
  assert.deepEqual(
    [mdev?.uuid, mdev?.active?.state, mdev?.active?.attributes],
    [UUID, 'active', LOOPBACK],
  )
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`daemon ends with 0 on ${signal}, hangs up on everyone, and leaves its hosts`, async () => {
    await using machine = new Machine()
    const daemon = await machine.daemon()
    await machine.up()
    const events = machine.api.events()
    await events.next()
    const { code, stderr } = await daemon.stop(signal)
    assert.deepEqual([code, /warn|error/.test(stderr)], [0, false])
    assert.match(stderr, /^hosts go on without the daemon: serial \(pid \d+\)$/m)
    await assert.rejects(async () => events.next(), { code: 'ECONNRESET' })
    assert.ok(!existsSync(apiSocket(machine.root)))
    assert.ok(existsSync(hostSocket(machine.root, 'serial')))
  })
}

test('daemon refuses a second one, and a configuration that is none, in one line', async () => {
  await using machine = new Machine()
  const { pid } = await machine.daemon()
  const bad = machine.scratch.write('bad.toml', '[api]\nmodus = 1')
  for (const [args, message, exitCode] of [
    [[], new RegExp(`^mdevkit daemon: EBUSY: root \\S+: the daemon with pid ${pid} has it\n$`), 6],
    [['--config', bad], /^mdevkit daemon: EINVAL: \S+bad\.toml: api\.modus: not known here\n$/, 1],
    [['--config', '/nowhere/x.toml'], /^mdevkit daemon: ENOENT: .*\n$/, 3],
    [['--definitions', '/dev/null'], /^mdevkit daemon: EBUSY: /, 6], // the lock comes first
  ] as const) {
    await using refused = await Mdevkit.start(['daemon', ...args], { root: machine.root })
    const { code, stderr } = await refused.ended
    assert.equal(code, exitCode)
    assert.match(refusalLine(stderr), message)
  }
})

test('daemon serves on a socket that was made for it, leaves it there, and tells how it stands', async () => {
  await using machine = new Machine()
  mkdirSync(machine.root, { mode: 0o700 })
  const path = apiSocket(machine.root)
  const notifySocket = join(machine.scratch.path, 'notify')
  using systemd = new DatagramReceiver(notifySocket)
  const fd = listenUnix(path, 0o600)
  const asked = machine.api.parents() // waits in the queue of the socket
  const start = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
  const command = [
    process.execPath,
    `${PROJECT}bin/mdevkit.js`,
    'daemon',
    '--config',
    machine.config,
  ]
  const child = spawn('/bin/sh', ['-c', start, 'sh', ...command], {
    env: { ...process.env, MDEVKIT_ROOT: machine.root, NOTIFY_SOCKET: notifySocket },
    stdio: ['ignore', 'pipe', 'ignore', fd],
  })
  closeFd(fd)
  try {
    assert.ok(Array.isArray(await asked))
    await machine.up()
    assert.deepEqual(systemd.received(), [`READY=1\nSTATUS=serving ${path}`])
    const [host] = await machine.api.parents()
    const inherited = readlinkSync(`/proc/${host?.pid}/fd/3`)
    assert.ok(!inherited.startsWith('socket:'), inherited)
    const environment = readFileSync(`/proc/${host?.pid}/environ`, 'utf8')
    assert.doesNotMatch(environment, /LISTEN_FDS|NOTIFY_SOCKET/)
  } finally {
    child.kill('SIGTERM')
  }
  await once(child, 'close')
  assert.deepEqual(systemd.received(), ['STOPPING=1'])
  assert.ok(existsSync(path))
})

test('SIGHUP has the configuration read again; a faulty one changes nothing, and its line is told', async () => {
  await using machine = new Machine()
  const notifySocket = join(machine.scratch.path, 'notify')
  using systemd = new DatagramReceiver(notifySocket)
  const daemon = await machine.daemon({ NOTIFY_SOCKET: notifySocket })
  await machine.up()
  const before = await machine.api.parents()
  systemd.received()
  const status = async () =>
    until(() => systemd.received().find((text) => text.startsWith('READY')) ?? false, 'a status')
  const serial = readFileSync(machine.config, 'utf8')
  for (const [text, fault] of [
    [`${serial}[parents.card`, /line 3: Invalid TOML/],
    [`${serial}colour = "red"\n`, /parents\.serial\.colour: not known here/],
  ] as const) {
    writeFileSync(machine.config, text)
    process.kill(daemon.pid, 'SIGHUP')
    await daemon.stderr.waitFor(fault)
    assert.match(await status(), /^READY=1\nSTATUS=configuration: nothing has changed: EINVAL: /)
    assert.deepEqual(await machine.api.parents(), before)
  }
  writeFileSync(machine.config, `${serial}[parents.card]\ndriver = "mtty"\n`)
  process.kill(daemon.pid, 'SIGHUP')
  await until(async () => (await machine.api.parents())[0]?.pid !== before[0]?.pid)
  const [card, same] = await machine.api.parents()
  assert.deepEqual([card?.name, same?.name, same?.pid], ['card', 'serial', before[0]?.pid])
  assert.equal(await status(), `READY=1\nSTATUS=serving ${apiSocket(machine.root)}`)
  assert.equal((await daemon.stop()).code, 0)
})
