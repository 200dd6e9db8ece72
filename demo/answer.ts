/**
 * Who answers at the far end of a port, in the guest: a shell loop. Without a guest, {@link Answerer} does the same.
 *
 * A line that begins with `$ ` is a command: its output comes back, then `= ` and its status. Any other line comes back
 * behind its number, and is added to a file that commands find as `heard`.
 */
import { createHash, type Hash } from 'node:crypto'

/** Said when lines are read. */
export const READY = 'ready'
/** What was heard, as commands name it. */
export const HEARD = 'heard'
/** After a command: its status. */
export const STATUS = /^= (\d+)$/
export const OK = '= 0'

/** The loop as a script: `answer ttyS1`. */
export const answerScript = `#!/bin/sh
mkdir "/tmp/$1" && cd "/tmp/$1" || exit
exec <"/dev/$1" >"/dev/$1" 2>&1 3>${HEARD}
stty 115200 raw -echo crtscts
echo ${READY}
number=0
while IFS= read -r line; do
  case $line in
  '$ '*)
    eval "\${line#??}"
    echo "= $?"
    ;;
  *)
    number=$((number + 1))
    printf '%s\\n' "$line" >&3
    printf '%s\\n' "$number: $line"
    ;;
  esac
done
`

/** The loop without a shell: it knows but a few commands. */
export class Answerer {
  readonly #send: (bytes: Buffer) => void
  readonly #commands: Readonly<Record<string, () => string>>
  readonly #heard: Hash = createHash('sha256')
  #number = 0
  #line = ''

  constructor(send: (bytes: Buffer) => void, commands: Readonly<Record<string, () => string>>) {
    this.#send = send
    this.#commands = {
      ...commands,
      [`sha256sum ${HEARD}`]: () => `${this.#heard.copy().digest('hex')}  ${HEARD}`,
    }
  }

  /** Says that lines are read. */
  greet(): void {
    this.#say(READY)
  }

  /** Hears bytes, lines in any pieces. */
  hear(bytes: Uint8Array): void {
    const lines = (this.#line + Buffer.from(bytes).toString('latin1')).split('\n')
    this.#line = lines.pop() ?? ''
    for (const line of lines) this.#answer(line)
  }

  #answer(line: string): void {
    if (line.startsWith('$ ')) {
      const command = this.#commands[line.slice(2)]
      if (command === undefined) {
        this.#say('= 127') // as a shell that finds none
      } else {
        this.#say(command())
        this.#say(OK)
      }
    } else {
      this.#heard.update(`${line}\n`, 'latin1')
      this.#say(`${++this.#number}: ${line}`)
    }
  }

  #say(line: string): void {
    this.#send(Buffer.from(`${line}\n`, 'latin1'))
  }
}
