/** The sysfs tree of a machine with a thousand mdevs: how often a second it can be asked, beside the HTTP API. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { apiSocket } from '../src/http/client.ts'
import { prepareMdevctl } from '../vm/mdevctl.ts'
import { compare } from './comparison.ts'
import { ManagedMachine, PARENTS, uuidOf } from './managed-machine.ts'
import type { Bench, Part } from './part.ts'
import type { Contestant } from './rounds.ts'

const MDEVS = 1000
const SAMPLE_MS = 300
const QUICK_MS = 30
const HTTP = 'HTTP'
const FILES = 'files'
const PROGRAM = fileURLToPath(new URL('../../bin/mdevkit.js', import.meta.url))

/** One thing that is done again and again, in one of two ways. */
type Step = () => unknown

export const sysfs: Part = {
  name: 'sysfs',
  about: 'stat, read, write and list in the sysfs tree of 1000 mdevs, beside the HTTP API',
  async measure(bench) {
    const { argv } = await prepareMdevctl('1.4', { onProgress: (line) => bench.tell(line) })
    await using machine = new ManagedMachine(bench.directory)
    machine.define(MDEVS)
    bench.tell(`starting ${MDEVS} mdevs`)
    await machine.start(MDEVS)
    const cases = Object.entries(operations(machine, argv)).map(([operation, ways]) => ({
      labels: [operation],
      contestants: Object.entries(ways).map(([name, step]) =>
        contestant(bench, machine, name, step),
      ),
    }))
    const table = {
      title: `The tree of ${MDEVS} mdevs`,
      labels: ['operation'],
      figures: [{ name: 'rate', title: 'per second', digits: 0, compared: true }],
      reference: HTTP,
      notes: [
        'One after the other, from one process. A ratio of more than 1 is faster than HTTP. Over HTTP there is nothing like stat: one mdev is asked for.',
        'list: names and links of all mdevs. Programs: mdevkit list, which asks over HTTP, and the unmodified mdevctl 1.4.',
      ],
    }
    return await compare(bench, table, cases) // before the machine ends
  },
}

function operations(
  { api, root }: ManagedMachine,
  [program = '', ...args]: readonly string[],
): Record<string, Record<string, Step>> {
  const devices = join(root, 'sys/bus/mdev/devices')
  const uuid = uuidOf(0)
  const parent = PARENTS[0]!
  const types = join(root, 'sys/class/mdev_bus', parent, 'mdev_supported_types')
  const available = join(types, `${parent}-small`, 'available_instances')
  const note = join(devices, uuid, 'note')
  const run = promisify(execFile)
  const env = { ...process.env, MDEVKIT_ROOT: root }
  return {
    stat: {
      [HTTP]: () => get(apiSocket(root), `/v1/mdevs/${uuid}`),
      [FILES]: () => statSync(note),
    },
    'read a count': {
      [HTTP]: () => get(apiSocket(root), `/v1/parents/${parent}`),
      [FILES]: () => readOnce(available),
    },
    'write a setting': {
      [HTTP]: () => api.change(uuid, [['note', 'x']]),
      [FILES]: () => writeOnce(note, 'x'),
    },
    'list 1000 mdevs': { [HTTP]: () => api.list(), [FILES]: () => readdirSync(devices) },
    'list by a program': {
      [HTTP]: () => run(process.execPath, [PROGRAM, 'list'], { env }),
      [FILES]: () => run(program, [...args, 'list'], { env: { ...env, MDEVCTL_ENV_ROOT: root } }),
    },
  }
}

async function get(socketPath: string, path: string): Promise<string> {
  const asked = request({ socketPath, path, agent: false }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return text(response)
}

function readOnce(path: string): void {
  const fd = openSync(path, 'r')
  readSync(fd, PAGE)
  closeSync(fd)
}

const PAGE = Buffer.alloc(4096)

function writeOnce(path: string, text: string): void {
  const fd = openSync(path, 'w')
  writeSync(fd, text)
  closeSync(fd)
}

function contestant(bench: Bench, machine: ManagedMachine, name: string, step: Step): Contestant {
  const { daemon, hosts } = machine.pids
  const ms = bench.quick ? QUICK_MS : SAMPLE_MS
  return {
    name,
    rehearse: async () => void (await step()),
    measure: async (quietly) =>
      quietly([daemon, ...hosts], async () => {
        let count = 0
        const began = performance.now()
        for (; performance.now() - began < ms; count++) await step()
        return { rate: (count * 1000) / (performance.now() - began) }
      }),
  }
}
