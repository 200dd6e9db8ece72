/** Transfers while the client maps and unmaps at will: what it has back is its own, and nothing of ours touches it. */
import assert from 'node:assert/strict'
import { readSync, writeFileSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { Container } from '../../src/iommu/container.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { AsyncFile } from '../../src/os/async-file.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { duplicate, Fds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const MAPS = 8
const MAP_SIZE = 16 * PAGE
const ROUNDS = 300

const unreachable = {
  read: async () => Promise.reject(new ErrnoError('EFAULT', 'no such memory')),
  write: async () => Promise.reject(new ErrnoError('EFAULT', 'no such memory')),
}

/** Numbers that look random and are the same each time. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    yield state >>> 8
  }
}

for (const engine of ['io_uring', 'threads'] as const) {
  for (const direct of [true, false]) {
    const way = `${engine}, ${direct ? 'direct' : 'page cache'}`
    test(`memory that the client has unmapped is not written any more (${way})`, async () => {
      using scratch = new Scratch()
      using fds = new Fds()
      const path = scratch.write('disk', '')
      writeFileSync(path, Buffer.alloc(MAP_SIZE, 0xdd))
      const file = new AsyncFile(path, { engine, direct })
      const memfd = fds.own(createMemfd('guest', MAPS * MAP_SIZE))
      const container = new Container({ maxMaps: MAPS, remote: unreachable })
      const random = numbers(7)
      const next = (below: number): number => random.next().value % below
      const own = Buffer.alloc(MAP_SIZE, 0x11)
      const found = Buffer.alloc(MAP_SIZE)

      const map = (index: number): void => {
        const at = index * MAP_SIZE
        const backing = { fd: duplicate(memfd), offset: at }
        container.map({ iova: at, size: MAP_SIZE, readable: true, writable: true, file: backing })
      }
      const unmapped = new Set<number>()
      const transfers: Promise<void>[] = []
      const takes: Promise<void>[] = []
      let moved = 0
      let refused = 0

      /** Takes memory back, makes it the client's own, and looks again when all that was begun has ended. */
      const take = async (index: number): Promise<void> => {
        unmapped.add(index)
        await container.unmap(index * MAP_SIZE, MAP_SIZE)
        writeSync(memfd, own, 0, MAP_SIZE, index * MAP_SIZE)
        await Promise.all(transfers) // those that began while it was mapped, too
        readSync(memfd, found, 0, MAP_SIZE, index * MAP_SIZE)
        assert.ok(found.equals(own), `map ${index} was written after its unmap`)
        map(index)
        unmapped.delete(index)
      }

      for (let index = 0; index < MAPS; index++) map(index)
      for (let round = 0; round < ROUNDS; round++) {
        for (let i = 0; i < 6; i++) {
          const pages = 1 + next(4)
          const list = Array.from({ length: pages }, () => ({
            iova: next(MAPS * 16) * PAGE,
            length: PAGE,
          }))
          transfers.push(
            new Promise<void>((resolve, reject) => {
              const done = (error?: Error): void =>
                error === undefined ? resolve() : reject(error)
              const position = next(16 - pages) * PAGE
              if (next(4) > 0) container.memory.queueFromFile(list, file, position, done)
              else container.memory.queueToFile(list, file, position, done)
            }).then(
              () => void moved++,
              (error: { code: string }) => {
                assert.equal(error.code, 'EFAULT')
                refused++
              },
            ),
          )
        }
        file.submit()
        const index = next(MAPS)
        if (!unmapped.has(index)) takes.push(take(index))
        if (round % 4 === 0) await new Promise(setImmediate)
      }
      await Promise.all([...transfers, ...takes])
      assert.ok(moved > 100 && refused > 10, `${moved} moved, ${refused} refused`)
      container.close()
      await file.close()
    })
  }
}
