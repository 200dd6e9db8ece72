/**
 * The host that is measured: `host.js DIRECTORY COUNT` serves COUNT mdevs of the smallest driver there is, prints
 * `{"sockets":[…]}`, and ends with its standard input.
 */
import { randomUUID } from 'node:crypto'
import { Host } from '../src/host/host.ts'
import { describeError } from '../src/lib/errno.ts'
import { createLogger } from '../src/lib/log.ts'
import { defineDriver, type Registers } from '../src/index.ts'

const BAR_SIZE = 4096

const bench = defineDriver({
  name: 'bench',
  types: { 1: { name: 'Register file' } },
  probe(mdev) {
    const registers = new RegisterFile(BAR_SIZE)
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    pci.bar(0, { kind: 'mem32', size: BAR_SIZE }, registers)
    return { reset: () => registers.reset() }
  },
})

/** Words that read back as written. Only whole ones: what is measured is not the device. */
class RegisterFile implements Registers {
  readonly #words: Uint32Array

  constructor(size: number) {
    this.#words = new Uint32Array(size / 4)
  }

  read(offset: number): number {
    return this.#words[offset >> 2] ?? 0
  }

  write(offset: number, value: number): void {
    this.#words[offset >> 2] = value
  }

  reset(): void {
    this.#words.fill(0)
  }
}

async function main(root: string, count: number): Promise<void> {
  const log = createLogger('warn')
  const host = new Host({ driver: bench, log, root })
  process.stdin.on('end', () => host.close(log)).resume()
  const sockets: string[] = []
  for (let i = 0; i < count; i++) {
    sockets.push(host.socketOf(await host.create('bench-1', randomUUID())))
  }
  console.log(JSON.stringify({ sockets }))
}

const [root, count] = process.argv.slice(2)
if (root === undefined || count === undefined) {
  process.stderr.write('usage: host.js DIRECTORY COUNT\n')
  process.exitCode = 2
} else {
  await main(root, Number(count)).catch((error: unknown) => {
    process.stderr.write(`bench host: ${describeError(error)}\n`)
    process.exit(1)
  })
}
