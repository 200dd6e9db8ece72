/** The machine of machine-program.ts in a process of its own, its tree mounted; and a shell that looks at it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { compileC } from '../support/cc.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { AS_USER } from '../support/ordinary-user.ts'
import { Scratch } from '../support/scratch.ts'

const PROGRAM = fileURLToPath(new URL('machine-program.js', import.meta.url))
/** What a command that hangs is killed after. */
const PATIENCE_MS = 60_000

export interface Played {
  readonly stdout: string
  readonly stderr: string
  readonly code: number | null
}

export interface MachineOptions {
  /** An ordinary user, whose machine it is: shells are his too, in its mount namespace. */
  readonly user?: number
  /** What makes it his, before its command line. */
  readonly prefix?: readonly string[]
}

export class MountedMachine implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly #options: MachineOptions
  readonly #tools = join(this.scratch.path, 'tools')
  #child: ChildProcess | undefined
  #lines: AsyncIterator<string> | undefined
  #said = ''

  private constructor(options: MachineOptions) {
    this.#options = options
  }

  static async start(options: MachineOptions = {}): Promise<MountedMachine> {
    const machine = new MountedMachine(options)
    compileC(join(PROJECT, 'test/sysfs/programs/sysfs-tools.c'), machine.#tools)
    try {
      await machine.up()
      return machine
    } catch (error) {
      await machine[Symbol.asyncDispose]()
      throw error
    }
  }

  get sys(): string {
    return join(this.root, 'sys')
  }

  get pid(): number {
    return this.#child?.pid ?? 0
  }

  /** Starts it, again perhaps. */
  async up(): Promise<void> {
    const { user, prefix = [] } = this.#options
    mkdirSync(this.root, { recursive: true })
    if (user !== undefined)
      for (const path of [this.scratch.path, this.root]) chownSync(path, user, user)
    const program = [process.execPath, '--enable-source-maps', PROGRAM, this.root]
    const [command = '', ...args] = [...prefix, ...program]
    const child = spawn(command, args)
    this.#child = child
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#said += text))
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    await this.#answer()
  }

  /** Has it do something: `open PARENT UUID`. */
  async order(order: string): Promise<void> {
    this.#child?.stdin?.write(`${order}\n`)
    await this.#answer()
  }

  /** Ends it, or kills it. */
  async down(signal?: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    if (signal === undefined) child.stdin?.end()
    else child.kill(signal)
    await ended
  }

  /** A shell that knows the transcript's tools and names. It is not waited for. */
  shell(command: string, user = 0): ChildProcess {
    const into = ['nsenter', `--target=${this.pid}`, '--mount', ...AS_USER]
    const prefix = this.#options.user === undefined ? [] : into
    const script = `cd ${this.scratch.path}${this.#prelude()}${command}` // nsenter goes elsewhere
    const [program, ...args] = [...prefix, 'bash', '-c', script]
    return spawn(program, args, {
      cwd: this.scratch.path,
      env: { ...process.env, LC_ALL: 'C', COLUMNS: '80', TOOLS: this.#tools, S: this.sys },
      stdio: ['ignore', 'pipe', 'pipe'],
      uid: user,
      gid: user,
    })
  }

  /** The same, to its end. Paths are as they would be in /sys. */
  async play(command: string, user = 0): Promise<Played> {
    const child = this.shell(command, user)
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.stdout?.destroy() // what it has started may have them too
      child.stderr?.destroy()
    }, PATIENCE_MS)
    const texts = { stdout: '', stderr: '' }
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream]?.setEncoding('utf8').on('data', (text: string) => (texts[stream] += text))
    await once(child, 'close')
    clearTimeout(timer)
    const plain = (text: string) => text.replaceAll(this.sys, '/sys')
    return { stdout: plain(texts.stdout), stderr: plain(texts.stderr), code: child.exitCode }
  }

  #prelude(): string {
    return `
C=$S/class/mdev_bus; D=$S/bus/mdev/devices
T=$C/mtty/mdev_supported_types; P=$C/mdpy/mdev_supported_types
A=$C/mprobe-a/mdev_supported_types; AP=$S/devices/virtual/mprobe/mprobe-a/mdev_supported_types
sw() { $TOOLS sw "$@"; }
sr() { $TOOLS sr "$@"; }
mm() { $TOOLS mm "$@"; }
many() { $TOOLS many "$@"; }
tree() { $TOOLS tree "$@"; }
u() { printf '%08x-0000-4000-8000-0000%08x\\n' $1 $1; }
at() { echo "mtty-1=$(cat $T/mtty-1/available_instances) mtty-2=$(cat $T/mtty-2/available_instances)"; }
ap() { echo "vga=$(cat $P/mdpy-vga/available_instances) xga=$(cat $P/mdpy-xga/available_instances) hd=$(cat $P/mdpy-hd/available_instances)"; }
ab() { echo "small=$(cat $B/mbochs-small/available_instances) medium=$(cat $B/mbochs-medium/available_instances) large=$(cat $B/mbochs-large/available_instances)"; }
UT=$(u 1); UP=$(u 2); UB=$(u 3); U=$(u 1)
U1=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001; U2=83b8f4f2-509f-382f-3c1e-e6bfe0fa1002; U3=83b8f4f2-509f-382f-3c1e-e6bfe0fa1003
B=\${B:-$C/mbochs/mdev_supported_types}
`
  }

  async #answer(): Promise<void> {
    const next = await this.#lines?.next()
    if (next === undefined || next.done === true)
      throw new Error(`the machine has ended: ${this.#said}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down('SIGKILL')
    this.scratch[Symbol.dispose]()
  }
}
