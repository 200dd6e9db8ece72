/** Programs of arena.test.ts that need a process of their own: run with the name of one, print a word a line. */
import { readFileSync } from 'node:fs'
import { ErrnoError } from '../../src/lib/errno.ts'
import { Arena, type Mapping } from '../../src/os/arena.ts'
import { addressOf } from '../../src/os/ffi.ts'
import { createMemfd } from '../../src/os/memfd.ts'

const PAGE = 4096
const GiB = 2 ** 30

const PROGRAMS: Readonly<Record<string, () => Promise<void>>> = {
  /** Is a window there while a view of it lives, and gone afterwards? */
  async collect() {
    const fd = createMemfd('collect', PAGE)
    let view: Uint8Array | undefined
    let address = 0
    const make = () => {
      const mapping = new Arena().map(fd, 0, PAGE, true)
      address = addressOf(mapping.bytes)
      mapping.unmap()
      view = mapping.bytes.subarray(10, 20)
    }
    make()
    await collect()
    console.log(isReserved(address))
    console.log(view?.[0])
    view = undefined
    for (let i = 0; i < 100 && isReserved(address); i++) await collect()
    console.log(isReserved(address))
  },

  /** Whoever can still unmap keeps the window, even without a view. */
  async unmap() {
    const fd = createMemfd('unmap', PAGE)
    let address = 0
    const make = () => {
      const mapping = new Arena().map(fd, 0, PAGE, true)
      address = addressOf(mapping.bytes)
      return mapping.unmap.bind(undefined)
    }
    const unmap = make()
    for (let i = 0; i < 10; i++) await collect()
    console.log(isReserved(address))
    unmap()
    console.log(isReserved(address))
  },

  /** As many mappings as there may be, none of which the kernel can merge with its neighbour. */
  async exhaust() {
    const fd = createMemfd('exhaust', PAGE)
    let arena = new Arena()
    let mappings = mapUntilRefused(arena, fd)
    console.log(mappings.length)
    const garbage = Array.from({ length: 100_000 }, (_, i) => Array.from({ length: 20 }, () => i))
    console.log(garbage.length)

    mappings.at(-1)?.unmap()
    mappings.at(-1)?.unmap()
    console.log(mapUntilRefused(new Arena(), fd).length)

    // also when the owner forgets them
    mappings = []
    arena = new Arena()
    for (let i = 0; i < 100 && mappings.length === 0; i++) {
      await collect()
      mappings = mapUntilRefused(arena, fd)
    }
    console.log(mappings.length > 0)
  },
}

function mapUntilRefused(arena: Arena, fd: number): Mapping[] {
  const mappings: Mapping[] = []
  try {
    for (;;) mappings.push(arena.map(fd, 0, PAGE, true))
  } catch (error) {
    if (!(error instanceof ErrnoError) || error.code !== 'ENOSPC') throw error
  }
  return mappings
}

async function collect(): Promise<void> {
  globalThis.gc?.()
  await new Promise((resolve) => setImmediate(resolve)) // finalizers are tasks
}

/** Whether `address` lies in something as large as a window. */
function isReserved(address: number): boolean {
  const areas = readFileSync('/proc/self/maps', 'utf8').matchAll(/^([0-9a-f]+)-([0-9a-f]+) .*$/gm)
  let start = 0
  let end = 0
  for (const [, from = '', to = ''] of areas) {
    const first = Number.parseInt(from, 16)
    if (first !== end) start = first // what adjoins may be one window, divided by a mapping
    end = Number.parseInt(to, 16)
    if (address >= start && address < end && end - start >= GiB) return true
  }
  return false
}

await PROGRAMS[process.argv[2] ?? '']?.()
