/** One callout script, run: never by a shell, with an end to the time that it takes and to what it says. */
import { spawn } from 'node:child_process'
import { accessSync, constants, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'

/** A script's exit status: the device is none of its. Also of one that cannot be run, or was killed: 255. */
export const NOT_MINE = 2
const FAILED = 255

const TIMEOUT_MS = 30_000
/** Most that is read of either stream; what it says beyond that is lost. */
const MAX_OUTPUT = 64 * 1024

const NO_WORD = 'not run: what it is told of has a name with a NUL in it'

export interface ScriptEnded {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** @param timeoutMs what it may take; then it is killed, and has failed */
export async function runScript(
  path: string,
  args: readonly string[],
  input: string,
  timeoutMs = TIMEOUT_MS,
): Promise<ScriptEnded> {
  if (args.some((arg) => arg.includes('\0'))) return { status: FAILED, stdout: '', stderr: NO_WORD }
  const child = spawn(path, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  // not by spawn's own time-out, which goes on where nothing could be spawned
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    child.stdout.destroy() // what it has started may have them open
    child.stderr.destroy()
  }, timeoutMs)
  const ended = new Promise<number>((resolve) => {
    child.on('error', () => resolve(FAILED))
    child.on('close', (code) => resolve(code ?? FAILED))
  })
  child.stdin.on('error', () => {}) // it need not read what it is told
  child.stdin.end(input)
  const [stdout, stderr, status] = await Promise.all([
    beginningOf(child.stdout),
    beginningOf(child.stderr),
    ended,
  ])
  clearTimeout(timer)
  return { status, stdout, stderr }
}

/** Reads to the end all the same: a script that cannot write does not end. */
async function beginningOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let room = MAX_OUTPUT
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (room > 0) chunks.push(chunk.subarray(0, room))
      room -= chunk.length
    }
  } catch {
    // cut off by us
  }
  return Buffer.concat(chunks).toString()
}

/** Those in a directory that can be run, by name. */
export function scriptsIn(directory: string): readonly string[] {
  return namesIn(directory)
    .toSorted()
    .map((name) => join(directory, name))
    .filter(isProgram)
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return [] // there are none
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}
