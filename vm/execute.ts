/** Runs one program to its end and hands back what it printed, or refuses with an errno and a line of why. */
import { spawn } from 'node:child_process'
import { buffer, text } from 'node:stream/consumers'
import { ErrnoError } from '../src/lib/errno.ts'

export interface ExecuteOptions {
  readonly cwd?: string
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>
  readonly input?: Uint8Array
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs `program` with `args`; no shell sees them.
 *
 * @returns what it printed to standard output
 * @throws ENOENT there is no such program · EIO it ended with a status other than 0; the message has its own complaint
 */
export async function execute(
  program: string,
  args: readonly string[],
  options: ExecuteOptions = {},
): Promise<Buffer> {
  options.signal?.throwIfAborted()
  const child = spawn(program, args, {
    cwd: options.cwd,
    // LC_ALL: what programs print is parsed
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: options.signal,
  })
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? `status ${code}`))
  })
  child.stdin.on('error', () => {}) // a program that reads no input closes it: EPIPE
  child.stdin.end(options.input)
  try {
    const [stdout, stderr, end] = await Promise.all([
      buffer(child.stdout),
      text(child.stderr),
      ended,
    ])
    if (end === 'status 0') return stdout
    throw new ErrnoError('EIO', `${program}: ended with ${end}: ${complaint(stderr)}`)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      throw new ErrnoError('ENOENT', `${program}: no such program in PATH`, { cause: error })
    }
    throw error
  }
}

/** What went wrong: as the program says it, what it was doing and why that failed; else the first line that calls itself an error, else the last. */
function complaint(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.trim() !== '')
  const said = lines.filter((line) => line.startsWith('error: '))
  if (said.length > 1) return said.map((line) => line.slice('error: '.length)).join(': ')
  return (lines.find((line) => /^E:|error/i.test(line)) ?? lines.at(-1) ?? 'no message').trim()
}
