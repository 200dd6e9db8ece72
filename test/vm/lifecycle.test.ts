/** Guests come and go, at once and at the worst moment; hosts die; the mdev stays usable and nothing is left of them. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { mtty } from '../../drivers/mtty/mtty.ts'
import { Host } from '../../src/host/host.ts'
import { qemuArguments } from '../../src/host/vmm-arguments.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import { Reactor, type Watch } from '../../src/os/reactor.ts'
import { bootGuest } from '../../vm/guest.ts'
import { type VmAssets, prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { leftIn, type Mdevkit, type Report, serve } from '../support/mdevkit.ts'
import { type Resources, resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'
import { Terminal } from '../support/terminal.ts'

/**
 * Guests with Linux in them, one after the other; each takes some four seconds. For more of them give the runner time:
 * `MDEVKIT_TEST_GUESTS=50 npm test -- test/vm/lifecycle --timeout-ms 900000`.
 */
const GUESTS = Number(process.env['MDEVKIT_TEST_GUESTS'] ?? 10)
/** Machines that are built, reset and ended without running anything. */
const MACHINES = 40

/** Greets on both ports, and repeats on each the line that comes back; then the guest powers off. */
const GREET = `
for port in 1 2; do
  exec 3<>/dev/ttyS$port
  stty 115200 raw -echo <&3
  echo "guest on port $port" >&3
  read -r line <&3
  echo "guest heard $line" >&3
  exec 3>&-
done
`

let assets: VmAssets

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
})

/** QEMU with the arguments that `mdevkit run` printed, as they are. */
async function boot(report: Report, init: string, more: readonly string[] = []) {
  return bootGuest({ assets, init, sharedMemory: false, devices: [...report.qemu, ...more] })
}

/** The terminal at a port's far end. */
function openTerminal(report: Report, port: number): Terminal {
  return Terminal.open(join(report.socket, '..', `port${port}`))
}

/** The host has noticed that a client went. */
async function gone(host: Mdevkit, pid: number): Promise<void> {
  await host.stderr.waitFor(new RegExp(`client pid ${pid} \\(.*\\): gone\n`))
}

/** One whole guest: it boots, talks on both ports, and powers off. */
async function greetedBy(
  { host, report }: { readonly host: Mdevkit; readonly report: Report },
  terminals: readonly Terminal[],
  name: string,
): Promise<void> {
  await using guest = await boot(report, GREET)
  for (const [index, terminal] of terminals.entries()) {
    await terminal.received.waitFor(new RegExp(`guest on port ${index + 1}\n`))
    terminal.write(`${name} ${index}\n`)
    await terminal.received.waitFor(new RegExp(`guest heard ${name} ${index}\n`))
  }
  const { code, signal, stderr } = await guest.exited
  assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' })
  await gone(host, guest.pid)
}

/**
 * What the host holds without clients. One comes and goes first: when it is served, all is done that the host does for
 * those that went before; and it is served, so the mdev is not busy.
 */
async function resourcesWithoutClients(host: Mdevkit, report: Report): Promise<Resources> {
  const socket = connect(report.socket)
  await host.stderr.waitFor(new RegExp(`client pid ${process.pid} \\(.*\\): attached\n`))
  socket.destroy()
  await gone(host, process.pid)
  return resourcesOf(host.pid)
}

test(`${GUESTS} guests in a row use one mdev and leave nothing in its host`, async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--type', 'mtty-2'], { root: scratch.path })
  const { host, report } = serving
  await using port0 = openTerminal(report, 0)
  await using port1 = openTerminal(report, 1)
  await greetedBy({ host, report }, [port0, port1], 'first')
  const first = await resourcesWithoutClients(host, report)
  for (let number = 2; number <= GUESTS; number++) {
    await greetedBy({ host, report }, [port0, port1], `guest ${number}`)
  }
  const last = await resourcesWithoutClients(host, report)
  assert.deepEqual(last.fds, first.fds)
  assert.deepEqual(last.shared, [])
  // a window goes when the collector finds that nobody looks into it any more
  assert.ok(last.windows <= first.windows + 1, `${first.windows} windows, then ${last.windows}`)
  assert.equal((await host.stop()).code, 0)
  assert.deepEqual(leftIn(scratch.path), [])
})

test(`${MACHINES} machines in a row build and reset one mdev and leave nothing in its host`, async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--type', 'mtty-2'], { root: scratch.path })
  const { host, report } = serving
  const first = await resourcesWithoutClients(host, report)
  for (let number = 0; number < MACHINES; number++) {
    await using machine = await boot(report, '', ['-S'])
    const pci = JSON.stringify(await machine.qmp('query-pci'))
    assert.match(pci, /"vendor":17224/) // 0x4348
    await machine.qmp('system_reset')
    await machine.qmpEvent('RESET')
    await machine.qmp('quit')
    await machine.exited
    await gone(host, machine.pid)
  }
  const last = await resourcesWithoutClients(host, report)
  assert.deepEqual(last.fds, first.fds)
  assert.deepEqual(last.shared, [])
})

/** A reactor that tells before and after each time it calls a handler. */
class TellingReactor extends Reactor {
  tell: (when: 'before' | 'after') => void = () => {}

  override watch(fd: number, interest: number, onReady: (events: number) => void): Watch {
    return super.watch(fd, interest, (events) => {
      this.tell('before')
      onReady(events)
      this.tell('after')
    })
  }
}

interface Seen {
  readonly turns: number
  readonly maps: number
  readonly accesses: number
}

interface Moment {
  /** Whether the host is about to serve QEMU at this moment, or just has. */
  readonly when: 'before' | 'after'
  /** What the server has counted since this client came. */
  readonly what: keyof Seen
  readonly count: number
}

/**
 * A machine's life in what it asks of the mdev: 11 maps and 18 accesses until it is built, 150 accesses until Linux is
 * up, 40 to open a port, and 4 for each byte that goes through it.
 */
const MOMENTS: readonly Moment[] = [
  ...moments('before', 'turns', [1, 2, 3, 4]),
  ...moments('after', 'turns', [1, 2, 3, 4]),
  ...moments('before', 'maps', [1, 6, 15]),
  ...moments('after', 'maps', [1, 6, 15]),
  ...moments('before', 'accesses', [1, 10, 18, 30, 100, 400]),
  ...moments('after', 'accesses', [1, 10, 18, 60, 160, 1000]),
]

function moments(
  when: Moment['when'],
  what: Moment['what'],
  counts: readonly number[],
): readonly Moment[] {
  return counts.map((count) => ({ when, what, count }))
}

/** What Node has for itself. */
const ownEventfds = resourcesOf().fds.filter((fd) => /memfd|eventfd/.test(fd))

test('QEMU killed at any moment leaves the mdev free and nothing in the host', async () => {
  using scratch = new Scratch()
  const reactor = new TellingReactor()
  const host = new Host({ driver: mtty, log: silentLogger, root: scratch.path, reactor })
  try {
    const mdev = await host.create('mtty-1', freshUuid(), [['ports', 'loopback']])
    for (const moment of MOMENTS) {
      await killAt(host, mdev, reactor, moment)
      const title = JSON.stringify(moment)
      assert.equal(mdev.group.user, undefined, `busy after ${title}`)
      const { fds, shared } = resourcesOf()
      const clients = fds.filter((fd) => /memfd|eventfd/.test(fd))
      assert.deepEqual({ clients, shared }, { clients: ownEventfds, shared: [] }, title)
    }
    const devices = qemuArguments(host.socketOf(mdev))
    await using guest = await bootGuest({ assets, init: shellInit, sharedMemory: false, devices })
    const echo = 'exec 3<>/dev/ttyS1; stty raw -echo <&3; echo works >&3; head -n 1 <&3'
    assert.equal((await guest.run(echo)).output, 'works\n')
  } finally {
    host.close()
  }
})

/** Boots a guest that never stops using the port, and kills QEMU when the moment has come. */
async function killAt(
  host: Host,
  mdev: MdevDevice,
  reactor: TellingReactor,
  { when, what, count }: Moment,
): Promise<void> {
  const counted = (turns: number): Seen => {
    const { dmaMaps = 0, regionReads = 0, regionWrites = 0 } = host.statsOf(mdev).server ?? {}
    return { turns, maps: dmaMaps, accesses: regionReads + regionWrites }
  }
  const start = counted(0)
  let turns = 0
  let killed = false
  reactor.tell = (now) => {
    if (killed || now !== when || mdev.group.user === undefined) return
    if (counted(++turns)[what] - start[what] < count) return
    killed = true
    process.kill(Number(/^pid (\d+)/.exec(mdev.group.user.description)?.[1]), 'SIGKILL')
  }
  const detached = once(host.events, 'detach')
  const init = 'exec 3<>/dev/ttyS1; stty raw -echo <&3; cat <&3 >/dev/null & cat /dev/zero >&3'
  const devices = qemuArguments(host.socketOf(mdev))
  const refusal = await bootGuest({ assets, init, sharedMemory: false, devices }).then(
    async (guest) => {
      const { signal, code } = await guest.exited
      return `${signal ?? code}`
    },
    (error: Error) => error.message, // killed before the machine was built
  )
  assert.ok(killed, `${what} ${count} never came`)
  assert.match(refusal, /^SIGKILL$|was killed by SIGKILL/)
  await detached
  reactor.tell = () => {}
}

test('a guest outlives its host, and a new host takes over the mdev of a killed one', async () => {
  using scratch = new Scratch()
  const args = ['mtty', '--type', 'mtty-2']
  await using first = await serve(args, { root: scratch.path })
  await using orphan = await boot(first.report, shellInit)
  assert.equal((await orphan.run('exec 3<>/dev/ttyS1; stty raw -echo <&3; echo $?')).output, '0\n')
  await first.host.stop('SIGKILL')
  assert.equal((await orphan.run('echo still here')).output, 'still here\n')

  await using serving = await serve([...args, '--uuid', first.report.uuid], {
    root: scratch.path,
  })
  const { host, report } = serving
  assert.deepEqual(report, first.report)
  await using port0 = openTerminal(report, 0)
  await using port1 = openTerminal(report, 1)
  await greetedBy({ host, report }, [port0, port1], 'second')
  assert.equal((await orphan.run('echo still here')).output, 'still here\n')
})

test('a host that is told to end while a guest uses its mdev does so, leaving nothing behind', async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty'], { root: scratch.path })
  const { host, report } = serving
  await using guest = await boot(report, shellInit)
  await guest.run('exec 3<>/dev/ttyS1; stty raw -echo <&3')
  assert.equal((await host.stop('SIGINT')).code, 0)
  assert.deepEqual(leftIn(scratch.path), [])
  assert.equal((await guest.run('echo still here')).output, 'still here\n')
})

test('a second machine is refused while one uses the mdev, which goes on', async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--set', 'ports=loopback'], { root: scratch.path })
  const { host, report } = serving
  await using guest = await boot(report, shellInit)
  await assert.rejects(boot(report, ''), { code: 'EIO', message: /^QEMU: / })
  await host.stderr.waitFor(/client pid \d+ \(.*\): refused: EBUSY: /)
  const echo = 'exec 3<>/dev/ttyS1; stty raw -echo <&3; echo works >&3; head -n 1 <&3'
  assert.equal((await guest.run(echo)).output, 'works\n')
})
