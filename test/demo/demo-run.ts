/** The programs of `demo/` as people run them: a process of its own, that has a directory for temporary files to itself. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { Transcript } from '../support/transcript.ts'

export interface DemoEnd {
  /** Exit code, or name of the signal. */
  readonly status: number | string | null
  readonly stdout: string
  readonly stderr: string
  /** What is left in the directory for temporary files. */
  readonly left: readonly string[]
}

export interface DemoRunOptions {
  readonly program?: 'demo' | 'guest'
  /** Its standard files, all three; pipes unless given, and nothing to read. */
  readonly terminalFd?: number
}

/** A run of one of them, killed at the end of the `using` scope if it has not ended. */
export class DemoRun implements AsyncDisposable {
  readonly stdout: Transcript
  readonly ended: Promise<DemoEnd>
  readonly #temporary = new Scratch()
  readonly #child: ChildProcess

  /** @param environment added to this process's */
  constructor(
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    { program = 'demo', terminalFd: fd }: DemoRunOptions = {},
  ) {
    this.stdout = new Transcript(`${program}, standard output`)
    this.#child = spawn(process.execPath, [`${PROJECT}dist/demo/${program}.js`, ...args], {
      env: { ...process.env, ...environment, TMPDIR: this.#temporary.path },
      stdio: fd === undefined ? ['ignore', 'pipe', 'pipe'] : [fd, fd, fd],
    })
    let stderr = ''
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.stdout.push(text))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    this.ended = once(this.#child, 'close').then(([code, signal]: unknown[]) => {
      const status = (signal ?? code) as number | string | null
      this.stdout.end(`it ended with ${status}; it said: ${stderr}`)
      return { status, stdout: this.stdout.text, stderr, left: this.left }
    })
  }

  /** What is in the directory for temporary files now. */
  get left(): readonly string[] {
    return readdirSync(this.#temporary.path)
  }

  /** Processes whose command line names that directory: QEMU, and who watches over it and the directories. */
  get processes(): readonly { readonly pid: number; readonly commandLine: string }[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => ({ pid: Number(pid), commandLine: commandLineOf(pid) }))
      .filter(({ commandLine }) => commandLine.includes(this.#temporary.path))
  }

  /** Hangs up on what it says. */
  closeStdout(): void {
    this.#child.stdout?.destroy()
  }

  async stop(signal: NodeJS.Signals): Promise<DemoEnd> {
    this.#child.kill(signal)
    return this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL')
    this.#temporary[Symbol.dispose]()
  }
}

/** Runs one to its end. */
export async function runDemo(
  args: readonly string[],
  environment?: Readonly<Record<string, string>>,
  options?: DemoRunOptions,
): Promise<DemoEnd> {
  await using run = new DemoRun(args, environment, options)
  return await run.ended
}

/** Whether it is QEMU with one of our devices. */
export function isQemu({ commandLine }: { readonly commandLine: string }): boolean {
  return commandLine.includes('qemu-system') && commandLine.includes('vfio-user-pci')
}

function commandLineOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ')
  } catch {
    return '' // it has ended
  }
}
