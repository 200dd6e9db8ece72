/** The tree of files: what a shell does with a file, and listings, beside the same in the kernel's own sysfs. */
import { closeSync, lstatSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import { compare } from './comparison.ts'
import type { Bench, Part } from './part.ts'
import { PLACEMENT_NAMES, processorsOf } from './pinning.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'

const ENTRIES = 1000
const COUNT = 3000
const QUICK_COUNT = 100
const LISTINGS = 20
const QUICK_LISTINGS = 2
const SYSFS = 'sysfs'

/** Where it is done: a file that can be read and written back, and a directory of many. */
interface Place {
  readonly name: string
  readonly file: string
  readonly directory: string
}

/** Of the kernel: says 0 or 1, and has no effect when that is written back. */
const KERNEL: Place = {
  name: SYSFS,
  file: '/sys/kernel/rcu_expedited',
  directory: '/sys/class/tty',
}

interface Operation {
  readonly name: string
  /** @returns how many it was */
  readonly run: (place: Place, bench: Bench) => number
}

const buffer = Buffer.alloc(4096)

const OPERATIONS: readonly Operation[] = [
  repeated('stat', ({ file }) => void statSync(file)),
  repeated('open, read, close', ({ file }) => {
    const fd = openSync(file, 'r')
    readSync(fd, buffer, 0, buffer.length, 0)
    closeSync(fd)
  }),
  repeated('open, truncate, write, close', ({ file }) => {
    const fd = openSync(file, 'w')
    writeSync(fd, '0\n')
    closeSync(fd)
  }),
  listing('list, each entry', (names) => names.length),
  listing('list with attributes, each entry', (names, directory) => {
    for (const name of names) lstatSync(`${directory}/${name}`)
    return names.length
  }),
]

function repeated(name: string, step: (place: Place) => void): Operation {
  return {
    name,
    run(place, { quick }) {
      const count = quick ? QUICK_COUNT : COUNT
      for (let i = 0; i < count; i++) step(place)
      return count
    },
  }
}

function listing(name: string, look: (names: string[], directory: string) => number): Operation {
  return {
    name,
    run({ directory }, { quick }) {
      let entries = 0
      for (let i = 0; i < (quick ? QUICK_LISTINGS : LISTINGS); i++)
        entries += look(readdirSync(directory), directory)
      return entries
    },
  }
}

export const fuse: Part = {
  name: 'fuse',
  about: 'stat, reading, writing and listing in a mounted tree, beside the kernel’s own sysfs',
  async measure(bench) {
    const program = fileURLToPath(new URL('./fuse-server.js', import.meta.url))
    const cases: Case[] = []
    await using servers = new Running()
    for (const placement of bench.placements) {
      const { server: processor } = processorsOf(placement, bench.allowed)
      const path = `${bench.directory}/${placement}`
      const command = [process.execPath, program, path, String(ENTRIES)]
      const server = servers.add(await Child.start('fuse-server', processor, command))
      await server.next()
      const ours: Place = { name: 'mdevkit', file: `${path}/value`, directory: `${path}/entries` }
      const contestant = (place: Place, { run }: Operation): Contestant => ({
        name: place.name,
        measure: async (quietly) =>
          quietly([process.pid, server.pid], async () => {
            const began = performance.now()
            const count = run(place, bench)
            return { time: ((performance.now() - began) * 1000) / count }
          }),
      })
      for (const operation of OPERATIONS) {
        const contestants = [KERNEL, ours].map((place) => contestant(place, operation))
        cases.push({ labels: [operation.name, PLACEMENT_NAMES[placement]], contestants })
      }
    }
    const table = {
      title: `A tree of files, with ${ENTRIES} entries in a directory`,
      labels: ['operation', 'processors'],
      figures: [{ name: 'time', title: 'us', digits: 1, compared: true }],
      reference: SYSFS,
      notes: [
        'The client is Node, whose own calls are in both figures. The server is on the second processor, or on the first; the client moves.',
      ],
    }
    return await compare(bench, table, cases)
  },
}
