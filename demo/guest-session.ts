/** A root shell of the guest on the user's terminal, until the guest or the user ends it. */
import { Writable } from 'node:stream'
import { ErrnoError } from '../src/lib/errno.ts'
import { bootGuest } from '../vm/guest.ts'
import type { GuestParts } from './guest-command.ts'
import { shellScript, underInit } from './guest-scripts.ts'
import { freshMark, MarkedOutput } from './marked-output.ts'
import type { RawTerminal } from './raw-terminal.ts'

/** Ctrl-], as telnet and virsh have it. */
const ESCAPE = 0x1d

export interface SessionOptions {
  readonly terminal: RawTerminal
  /** Said above the prompt. */
  readonly title: string
}

/** @throws EPIPE QEMU has ended by something else than the guest · what keeps it from being booted */
export async function session(
  parts: GuestParts,
  { terminal, title }: SessionOptions,
): Promise<void> {
  const mark = freshMark()
  const output = new MarkedOutput(mark, () => terminal.enter())
  output.pipe(process.stdout, { end: false })
  const { init, files } = underInit(shellScript({ mark, title, ...terminal.size }))
  try {
    await using guest = await bootGuest({
      ...parts,
      init,
      files: [...files, ...(parts.files ?? [])],
      consoleTo: output,
    })
    const left = new Promise<void>((resolve) => {
      process.stdin.on('data', (typed: Buffer) => {
        const at = typed.indexOf(ESCAPE)
        guest.send(at < 0 ? typed : typed.subarray(0, at))
        if (at >= 0) resolve()
      })
      process.stdin.on('end', resolve) // the terminal has hung up
      process.stdin.on('error', () => resolve())
    })
    const ended = await Promise.race([guest.exited, left])
    terminal.leave() // before what may take time
    if (ended === undefined) process.stdout.write('\n')
    if (ended === undefined || ended.code === 0) return
    const how = ended.stderr.trim() || ended.signal || `status ${ended.code}`
    throw new ErrnoError('EPIPE', `QEMU has ended: ${how}`)
  } finally {
    terminal.leave()
    process.stdin.pause()
    output.unpipe()
  }
}

/** A stream for what is said once and need not be waited for. */
export function sayingStream(say: (text: string) => void): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      say(chunk.toString())
      done()
    },
  })
}
