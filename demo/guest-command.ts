/** Runs one command in a guest and copies what it says, as it says it; what the kernel says goes elsewhere. */
import { once } from 'node:events'
import { type Server, type Socket, createServer } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { ErrnoError } from '../src/lib/errno.ts'
import { unlessAborted } from '../src/lib/within.ts'
import { type Guest, type GuestOptions, bootGuest } from '../vm/guest.ts'
import { PrivateDirectory } from '../vm/private-directory.ts'
import { commandScript, PORTS, underInit } from './guest-scripts.ts'
import { freshMark, MarkedOutput } from './marked-output.ts'

/** Many times what a boot takes. */
const BOOT_MS = 180_000

/** What a guest has, but for what this file adds. */
export type GuestParts = Omit<GuestOptions, 'init' | 'consoleTo' | 'signal'> & {
  readonly signal: AbortSignal
}

export interface CommandStreams {
  readonly stdout: Writable
  readonly stderr: Writable
  /** What comes on the guest's console: its kernel's messages, as a rule none. */
  readonly console: Writable
}

/**
 * @returns the status of the command
 * @throws EPIPE the guest has ended before it · ETIMEDOUT the guest did not come up · the reason of the signal
 */
export async function runCommand(
  command: string,
  parts: GuestParts,
  streams: CommandStreams,
): Promise<number> {
  await using directory = await PrivateDirectory.create('mdevkit-ports-')
  const mark = freshMark()
  const ports = await Promise.all(
    [streams.stdout, streams.stderr].map(async (to, index) =>
      Port.open(join(directory.path, String(index)), PORTS[index] ?? '', mark, to),
    ),
  )
  const { init, files } = underInit(commandScript(command, mark))
  try {
    await using guest = await bootGuest({
      ...parts,
      init,
      files: [...files, ...(parts.files ?? [])],
      consoleTo: streams.console,
      modules: ['virtio_pci', 'virtio_console', ...(parts.modules ?? [])],
      devices: [
        ...(parts.devices ?? []).flat(),
        '-device',
        'virtio-serial-pci,addr=0x1e', // out of the way of other devices
        ...ports.flatMap((port) => port.qemuArguments),
      ],
    })
    const ending = Promise.race([
      Promise.all(ports.map(async (port) => port.status)),
      failure(guest, ports),
      late(ports[0]!),
    ])
    // what the guest has said may have nowhere to go when it is told to end, and is not waited for then
    const [status = 1] = await unlessAborted(parts.signal, ending)
    return status
  } finally {
    for (const port of ports) port.close()
  }
}

/** Rejects when the guest has ended, and all that it said has been read. */
async function failure(guest: Guest, ports: readonly Port[]): Promise<never> {
  const { code, signal, stderr } = await guest.exited
  await Promise.all(ports.map(async (port) => port.drained()))
  if (code === 0) throw new ErrnoError('EPIPE', 'the guest has ended before its command did')
  const how = stderr.trim() || signal || `status ${code}`
  throw new ErrnoError('EPIPE', `QEMU has ended before the command did: ${how}`)
}

/** Rejects when nothing has come from the guest for long. */
async function late(port: Port): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(
      () => reject(new ErrnoError('ETIMEDOUT', `the guest is not up after ${BOOT_MS} ms`)),
      BOOT_MS,
    )
    timer.unref()
    void port.begun.then(() => clearTimeout(timer))
  })
}

/** A port of the guest, and where goes what comes out of it. */
class Port {
  /** Resolves when a first mark has come. */
  readonly begun: Promise<void>
  /** Resolves with the number of the last mark, when all that stood before it has been taken. */
  readonly status: Promise<number>
  readonly qemuArguments: readonly string[]
  readonly #server: Server
  readonly #output: MarkedOutput
  #socket: Socket | undefined

  private constructor(server: Server, path: string, name: string, mark: string, to: Writable) {
    this.#server = server
    const id = name.replace('.', '-')
    this.qemuArguments = [
      '-chardev',
      `socket,id=${id},path=${path.replaceAll(',', ',,')}`,
      '-device',
      `virtserialport,chardev=${id},name=${name}`,
    ]
    const marks: number[] = []
    const most = name === PORTS[0] ? 2 : 1
    let begin = (): void => {}
    this.begun = new Promise((resolve) => (begin = resolve))
    this.#output = new MarkedOutput(mark, (number) => {
      begin()
      if (marks.push(number) === most) this.#output.push(null)
    })
    this.#output.pipe(to, { end: false })
    this.status = once(this.#output, 'end').then(async () => {
      await new Promise<void>((resolve) => to.write('', () => resolve()))
      return marks.at(-1) ?? 1
    })
    server.once('connection', (socket) => {
      this.#socket = socket
      socket.on('error', () => {}) // QEMU was killed
      socket.pipe(this.#output, { end: false })
    })
  }

  /** @param path where QEMU connects */
  static async open(path: string, name: string, mark: string, to: Writable): Promise<Port> {
    const server = createServer()
    server.listen(path)
    await once(server, 'listening')
    return new Port(server, path, name, mark, to)
  }

  /** Resolves when nothing more can come. */
  async drained(): Promise<void> {
    if (this.#socket?.closed === false) await once(this.#socket, 'close')
  }

  close(): void {
    this.#socket?.destroy()
    this.#server.close()
  }
}
