/** A guest at work on an mdev while the daemon is killed, upgraded and started anew: no access fails, and the model is whole again. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { qemuArguments } from '../../src/host/vmm-arguments.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { killAllOf } from '../support/root-processes.ts'
import { Scratch } from '../support/scratch.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
const AUTO = { type: 'mtty-1', start: 'auto', attributes: [['ports', 'loopback']] } as const

/** Sends numbers out of the card's port, and reads each back: dozens of register accesses a line. */
const AT_WORK = `
(
  exec 3<>/dev/ttyS1
  stty 115200 raw -echo <&3
  n=0
  while [ ! -e /stop ]; do
    echo "line $n" >&3
    read -r line <&3
    [ "$line" = "line $n" ] || echo "$n: $line" >>/wrong
    n=$((n + 1))
    echo $n >/lines.new
    mv /lines.new /lines
  done
  touch /stopped
) >/dev/null 2>&1 &
`

/** Another build of mdevkit, at another path, with another version. @returns its program */
function upgraded(scratch: Scratch): string {
  const at = join(scratch.path, 'mdevkit-9.9.9')
  for (const part of ['bin', 'dist/src', 'dist/drivers'])
    cpSync(join(PROJECT, part), join(at, part), { recursive: true })
  symlinkSync(join(PROJECT, 'node_modules'), join(at, 'node_modules'))
  const manifest = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as object
  scratch.write('mdevkit-9.9.9/package.json', JSON.stringify({ ...manifest, version: '9.9.9' }))
  return join(at, 'bin/mdevkit.js')
}

class Machine implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly api = new ApiClient(apiSocket(this.root))
  readonly #config = this.scratch.write(
    'mdevkit.toml',
    'sysfs = false\n[parents.serial]\ndriver = "mtty"\n',
  )

  /** Resolves once it serves. */
  async daemon(program: string): Promise<ChildProcess> {
    const child = spawn(process.execPath, [program, 'daemon', '--config', this.#config], {
      env: { ...process.env, MDEVKIT_ROOT: this.root },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    const [line] = (await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])) as [
      unknown,
    ]
    assert.match(String(line), /api\.sock/)
    return child
  }

  async up(): Promise<void> {
    for await (const event of this.api.events()) {
      const parents =
        event.action === 'snapshot' ? event.parents : 'view' in event ? [event.view] : []
      if (parents.some((parent) => parent?.pid !== undefined)) return
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await killAllOf(this.root)
    this.scratch[Symbol.dispose]()
  }
}

async function end(daemon: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = once(daemon, 'exit')
  daemon.kill(signal)
  await ended
}

/** Resolves once the guest has gone on by some lines; none has been wrong. */
async function atWork(guest: Guest): Promise<void> {
  const { output } = await guest.run('cat /lines 2>/dev/null || echo 0')
  const { status } = await guest.run(
    `until [ "$(cat /lines 2>/dev/null || echo 0)" -ge ${Number(output) + 5} ]; do sleep 0.1; done; [ ! -e /wrong ]`,
  )
  assert.equal(status, 0, (await guest.run('cat /wrong')).output)
}

test('a guest at work does not feel that the daemon is killed, upgraded and started anew', async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  await using machine = new Machine()
  const { api, root } = machine
  const program = join(PROJECT, 'bin/mdevkit.js')
  const first = await machine.daemon(program)
  await machine.up()
  await api.define({ parent: 'serial', uuid: UUID }, AUTO)
  const { socket = '' } = await api.start({ uuid: UUID })
  await using guest = await bootGuest({
    assets,
    init: shellInit,
    sharedMemory: false,
    devices: qemuArguments(socket),
  })
  await guest.run(AT_WORK)
  await atWork(guest)
  const before = [await api.list(), await api.parents()]

  await end(first, 'SIGKILL')
  await atWork(guest)
  const next = await machine.daemon(upgraded(machine.scratch))
  assert.equal((await api.health()).version, '9.9.9')
  assert.deepEqual([await api.list(), await api.parents()], before)
  await atWork(guest)

  await end(next, 'SIGTERM')
  await atWork(guest)
  await machine.daemon(program)
  assert.deepEqual([await api.list(), await api.parents()], before)
  await atWork(guest)

  const events = api.events()
  await events.next()
  const { status } = await guest.run(
    'touch /stop; until [ -e /stopped ]; do sleep 0.1; done; [ ! -e /wrong ]',
  )
  assert.equal(status, 0)
  await guest.stop()
  for await (const { action } of events) if (action === 'detach') break
  await api.stop(UUID)
  assert.ok(!existsSync(join(root, 'devices', UUID)))
})
