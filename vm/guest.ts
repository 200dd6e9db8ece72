/** Boots a Linux guest in QEMU and holds it: console, shell, QMP, and its end. */
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { ErrnoError } from '../src/lib/errno.ts'
import { shellLine } from '../src/lib/shell-line.ts'
import { GuestConsole, type WaitOptions } from './console.ts'
import { type InitramfsOptions, buildInitramfs } from './initramfs.ts'
import { type Leashed, spawnLeashed, stopLeashed } from './leash.ts'
import { type Machine, qemuArguments } from './qemu-arguments.ts'
import { PrivateDirectory } from './private-directory.ts'
import { Qmp, type QmpEvent } from './qmp.ts'
import { type RunResult, SHELL_READY, runInShell, shellInit } from './shell.ts'

const TIMEOUT_MS = 60_000 // a boot takes 3 s on an idle machine
const TERM_MS = 2_000 // QEMU sits out what it waits for, such as a reply over vfio-user

export interface GuestOptions extends InitramfsOptions, Machine {
  /** Stops the guest when aborted. */
  readonly signal?: AbortSignal | undefined
  /** Where the console goes, byte by byte, instead of to {@link Guest.console}; it is not ended. */
  readonly consoleTo?: Writable | undefined
  /** How long each wait for the guest lasts at most unless it says otherwise, ms. */
  readonly timeoutMs?: number | undefined
}

export interface GuestExit {
  readonly code: number | null
  readonly signal: string | null
  /** What QEMU had to say, which is little unless something is wrong. */
  readonly stderr: string
}

/**
 * A running guest. It ends with {@link Guest.stop}, when this process ends in whatever way, or by itself; then its
 * directory is gone too.
 */
export class Guest implements AsyncDisposable {
  /** As it was started, for a shell. What it names exists while the guest runs. */
  readonly commandLine: string
  readonly pid: number
  /** Resolves when QEMU has ended and nothing is left of it. */
  readonly exited: Promise<GuestExit>
  readonly #leashed: Leashed
  readonly #console: GuestConsole
  readonly #timeoutMs: number
  readonly #hasShell: boolean
  #qmp: Qmp | undefined

  private constructor(leashed: Leashed, commandLine: string, options: GuestOptions) {
    this.#leashed = leashed
    this.commandLine = commandLine
    this.pid = leashed.child.pid
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS
    this.#hasShell = options.init.includes(shellInit)
    this.#console = new GuestConsole(this.#timeoutMs)
    const said = leashed.child.stdout!
    if (options.consoleTo !== undefined) said.pipe(options.consoleTo, { end: false })
    else said.setEncoding('utf8').on('data', (chunk: string) => this.#console.push(chunk))
    this.exited = this.#end()
    const stop = () => void this.stop()
    options.signal?.addEventListener('abort', stop, { once: true })
    void this.exited.then(() => options.signal?.removeEventListener('abort', stop))
  }

  /**
   * Resolves when QEMU has built the machine and starts it; wait for the guest with {@link Guest.waitFor} or
   * {@link Guest.run}.
   *
   * @throws EIO QEMU refused, its reasons in the message · ETIMEDOUT it did not get that far
   */
  static async boot(options: GuestOptions): Promise<Guest> {
    options.signal?.throwIfAborted()
    const directory = await PrivateDirectory.create('mdevkit-guest-')
    let guest: Guest | undefined
    try {
      const { path } = directory
      const files = { initramfs: join(path, 'initramfs'), qmp: join(path, 'qmp.sock') }
      await writeFile(files.initramfs, await buildInitramfs(options))
      options.signal?.throwIfAborted()
      const { qemu, kernel } = options.assets
      const argv = [...qemu.argv, ...qemuArguments({ ...files, kernel }, options)]
      const settings = Object.entries(qemu.env).map(([name, value]) => `${name}=${value}`)
      const commandLine = shellLine([...settings, ...argv])
      guest = new Guest(
        await spawnLeashed(argv, { env: qemu.env, directory }),
        commandLine,
        options,
      )
      await guest.#started(files.qmp)
      return guest
    } catch (error) {
      await guest?.stop()
      await directory[Symbol.asyncDispose]()
      options.signal?.throwIfAborted()
      throw error
    }
  }

  /** All that came on the console so far. */
  get console(): string {
    return this.#console.text
  }

  /**
   * Waits for text on the console and consumes all up to its end.
   *
   * @throws ETIMEDOUT, EPIPE it did not come, the guest ended; the message shows what came instead
   */
  async waitFor(pattern: RegExp | string, options?: WaitOptions): Promise<RegExpMatchArray> {
    return this.#console.waitFor(pattern, options)
  }

  /** Types on the console; a line ends with `\n`. */
  send(text: string | Uint8Array): void {
    this.#leashed.child.stdin!.write(text)
  }

  /**
   * Runs a command, of one line or many, in the shell on the console; {@link shellInit} is one.
   *
   * @throws ETIMEDOUT, EPIPE it did not end, the guest did
   */
  async run(command: string, options?: WaitOptions): Promise<RunResult> {
    if (this.#hasShell) await this.#console.seen(SHELL_READY, options)
    return runInShell(this.#console, (typed) => this.send(typed), command, options)
  }

  /**
   * Executes a QMP command and returns what it returns.
   *
   * @throws ENODEV no such device · EINVAL QEMU refuses it otherwise · EPIPE the guest ended
   */
  async qmp(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return this.#qmp!.execute(command, args)
  }

  /** The next QMP event of this name that was not returned before, which may have come already. */
  async qmpEvent(name: string, options: WaitOptions = {}): Promise<QmpEvent> {
    return this.#qmp!.event(name, options.timeoutMs ?? this.#timeoutMs)
  }

  /** Ends the guest, at first politely. Resolves when nothing is left of it. */
  async stop(): Promise<void> {
    await stopLeashed(this.#leashed, this.exited, TERM_MS)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async #end(): Promise<GuestExit> {
    const { child } = this.#leashed
    const stderr = text(child.stderr!)
    const closed = once(child, 'close')
    const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
    await this.#leashed.release() // at once: the number of the process may be used again
    await closed
    const exit = { code, signal, stderr: await stderr }
    this.#qmp?.close()
    this.#console.end(describeExit(exit))
    return exit
  }

  /** Waits for QMP, which QEMU serves when all devices are built. */
  async #started(socket: string): Promise<void> {
    const abort = new AbortController()
    const connected = Qmp.connect(socket, abort.signal)
    const ended = this.exited.then((exit) => {
      throw new ErrnoError('EIO', `QEMU: ${describeExit(exit)}`)
    })
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new ErrnoError('ETIMEDOUT', `QEMU: no answer within ${this.#timeoutMs} ms`)),
        this.#timeoutMs,
      )
    })
    try {
      // one that is told of the end by the closing socket must not win from the one that knows why
      this.#qmp = await Promise.race([connected.catch(() => ended), ended, timeout])
    } finally {
      clearTimeout(timer)
      abort.abort()
      ended.catch(() => {}) // it ends some day
    }
  }
}

/** @see Guest.boot */
export async function bootGuest(options: GuestOptions): Promise<Guest> {
  return Guest.boot(options)
}

function describeExit({ code, signal, stderr }: GuestExit): string {
  const how = signal === null ? `ended with status ${code}` : `was killed by ${signal}`
  const why = stderr.trim()
  return why === '' ? how : `${how}: ${why}`
}
