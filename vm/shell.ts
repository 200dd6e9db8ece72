/** The shell on a guest's console, as a program that types into it and reads exactly what comes back. */
import { randomBytes } from 'node:crypto'
import type { GuestConsole, WaitOptions } from './console.ts'

/** What {@link shellInit} says once it reads commands. */
export const SHELL_READY = 'guest shell ready'

/**
 * An init script that ends in a root shell on the console, for `Guest.run`. It has no prompt and no echo, takes one
 * command a line, and starts again should a command end it.
 */
export const shellInit = `
dmesg -n 1 # the kernel's messages would stand amid the output of commands
stty raw -echo -opost
echo '${SHELL_READY}'
while :; do
  sh -c 'while IFS= read -r line; do eval "$line"; done'
done
`

export interface RunResult {
  readonly status: number
  /** All that came while it ran, from any process that writes to the console; decoded as UTF-8. */
  readonly output: string
}

/** Types `command` and waits for its end. Variables, open files and the directory remain for the next one. */
export async function runInShell(
  console: GuestConsole,
  send: (text: string) => void,
  command: string,
  options: WaitOptions = {},
): Promise<RunResult> {
  const id = randomBytes(8).toString('hex')
  // what is printed starts with a control character that is nowhere in what is typed, so an echo is not mistaken
  const end = String.raw`printf "\003${id}:$?;"`
  const result = console.between(
    `\u0002${id}:`,
    new RegExp(`\\u0003${id}:(\\d+);`),
    `end of ${JSON.stringify(command)}`,
    options.timeoutMs,
  )
  // `command` keeps a syntax error from ending the shell; the trap is for a command that ends it
  send(
    String.raw`printf "\002${id}:"; trap '${end}' EXIT; command eval ${quote(command)}; ${end}; trap - EXIT` +
      '\n',
  )
  const { text, end: match } = await result
  return { status: Number(match[1]), output: text }
}

/** A shell word on one line, for a shell that reads line by line. */
function quote(text: string): string {
  const escaped = text
    .replaceAll('\\', String.raw`\\`)
    .replaceAll("'", String.raw`\'`)
    .replaceAll('\n', String.raw`\n`)
  return `$'${escaped}'`
}
