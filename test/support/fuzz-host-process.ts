/** The process of fuzz-host.ts, seen from who fuzzes it. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { DeviceKind } from './fuzz-device.ts'
import type { HostMessage, HostReport, HostRequest } from './fuzz-host.ts'
import { Scratch } from './scratch.ts'

const PROGRAM = fileURLToPath(new URL('fuzz-host.js', import.meta.url))
/** What a host that does not answer is taken to hang after. */
const PATIENCE_MS = 30_000
/** How long it may take to close. */
const CLOSING_MS = 3000

export class FuzzedHost implements AsyncDisposable {
  /** Of the devices, in the order of their kinds. */
  readonly sockets: readonly string[]
  readonly #child: ChildProcess
  readonly #scratch: Scratch
  readonly #stderr: string[]
  #fault: string | undefined
  #report: HostReport | undefined
  #onReport: ((report: HostReport | undefined) => void) | undefined
  /** The last question has been answered. */
  #asked: Promise<unknown> = Promise.resolve()

  private constructor(
    child: ChildProcess,
    scratch: Scratch,
    sockets: readonly string[],
    stderr: string[],
  ) {
    this.#child = child
    this.#scratch = scratch
    this.sockets = sockets
    this.#stderr = stderr
    child.on('message', (message: HostMessage) => {
      if (message.kind === 'fault') this.#fault ??= message.text
      if (message.kind === 'report') this.#onReport?.(message)
    })
    child.once('exit', () => this.#onReport?.(undefined))
  }

  static async start(kinds: readonly DeviceKind[]): Promise<FuzzedHost> {
    const scratch = new Scratch()
    const child = fork(PROGRAM, [scratch.path, ...kinds], {
      execArgv: ['--expose-gc', '--enable-source-maps'],
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    const stderr: string[] = []
    child.stderr?.setEncoding('utf8').on('data', (text: string) => stderr.push(text))
    process.once('exit', () => child.kill('SIGKILL'))
    const [message] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit'),
    ])) as unknown[]
    const ready = message as HostMessage | number | null
    if (ready === null || typeof ready !== 'object' || ready.kind !== 'ready')
      throw new Error(`the host did not start: ${stderr.join('')}`)
    return new FuzzedHost(child, scratch, ready.sockets, stderr)
  }

  /** What is wrong with it, if anything: how it ended and what it wrote, or an error that it logged. */
  get fault(): string | undefined {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null)
      return `the host ended with ${signalCode ?? `exit code ${exitCode}`}: ${this.#stderr.join('')}`
    return this.#fault && `the host logged an error of its own: ${this.#fault}`
  }

  /** What it said last of itself. */
  get lastReport(): HostReport | undefined {
    return this.#report
  }

  /** Asks what it holds, one question at a time. @throws when it ends or does not answer */
  async report(request: HostRequest): Promise<HostReport> {
    const answer = this.#asked.then(() => this.#ask(request))
    this.#asked = answer.catch(() => {}) // who asks next has its own answer
    return answer
  }

  async #ask(request: HostRequest): Promise<HostReport> {
    let timer: NodeJS.Timeout | undefined
    const report = await new Promise<HostReport | undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), PATIENCE_MS)
      this.#onReport = resolve
      if (this.#child.connected) this.#child.send(request, () => {}) // what fails ends the host, which is noticed
      else resolve(undefined)
    })
    clearTimeout(timer)
    this.#onReport = undefined
    if (report === undefined)
      throw new Error(this.fault ?? `the host said nothing within ${PATIENCE_MS} ms`)
    this.#report = report
    return report
  }

  /** Waits for its end, as long as one is likely to come. */
  async endOrNot(waitMs: number): Promise<void> {
    const { exitCode, signalCode } = this.#child
    if (exitCode !== null || signalCode !== null) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, waitMs)
    })
    await Promise.race([once(this.#child, 'exit'), late])
    clearTimeout(timer)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected) this.#child.disconnect() // which it takes for the request to end
    await this.endOrNot(CLOSING_MS)
    this.#child.kill('SIGKILL')
    this.#scratch[Symbol.dispose]()
  }
}
