/**
 * A machine with the parents of the kernel's transcript, and a daemon that mounts their tree: `machine-program.js ROOT`. It
 * says `ready`, then does what it is told line by line, answering `ok`, and ends with its standard input.
 */
import { createInterface } from 'node:readline'
import { parseConfig } from '../../src/daemon/config.ts'
import { Daemon } from '../../src/daemon/daemon.ts'
import { ControlServer } from '../../src/host/control-server.ts'
import { Host } from '../../src/host/host.ts'
import { hostSocket, prepareRoot } from '../../src/host/paths.ts'
import type { ErrnoCode } from '../../src/lib/errno.ts'
import { createLogger } from '../../src/lib/log.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { Client } from '../mdev/support.ts'
import { MBOCHS, MDPY, mprobe, MTTY } from './parents.ts'

const [, , root = ''] = process.argv
const log = createLogger('warn')
const probe = mprobe()
const hosts = new Map<string, { readonly host: Host; readonly control: ControlServer }>()
const clients = new Map<string, Client>()

function start(name: string, driver: Driver): void {
  const host = new Host({ driver, log, root, name })
  const path = hostSocket(root, name)
  const control = new ControlServer({ host, path, log, onUnregistered: () => {} })
  hosts.set(name, { host, control })
}

const ORDERS: Readonly<Record<string, (...words: string[]) => void | Promise<void>>> = {
  /** Lets a client open an mdev, and close it. */
  open: (parent = '', uuid = '') => {
    const mdev = hosts.get(parent)?.host.parent.mdev(uuid)
    if (mdev !== undefined) clients.set(uuid, new Client(mdev))
  },
  close: (uuid = '') => clients.get(uuid)?.session.close(),
  /** What mprobe's next creations fail with; none without a code. */
  fail: (code) => {
    probe.failWith = code as ErrnoCode | undefined
  },
  unregister: (parent = '') => {
    void hosts.get(parent)?.host.parent.unregister()
  },
}

const parents = {
  mtty: MTTY,
  mdpy: MDPY,
  mbochs: MBOCHS,
  'mprobe-a': probe.driver,
  'mprobe-b': probe.driver,
}
prepareRoot(root)
for (const [name, driver] of Object.entries(parents)) start(name, driver)
const config = parseConfig('', '/x')
// finds the hosts that are there before it says that it has started
const daemon = await Daemon.start({ root, config, log, version: '1', sysfs: true })
process.stdout.write('ready\n')
for await (const line of createInterface(process.stdin)) {
  const [order = '', ...words] = line.split(' ')
  await ORDERS[order]?.(...words)
  process.stdout.write('ok\n')
}
await daemon.close()
for (const { control, host } of hosts.values()) {
  control.close()
  host.close()
}
