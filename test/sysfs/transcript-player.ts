/** Plays a chapter of the kernel's transcript over the mount, and writes down what came of it. */
import type { MountedMachine } from './mounted-machine.ts'

/**
 * Lines that begin with `$ ` go to a shell, those with `! ` are orders to the machine. What a command printed follows its line, or
 * stands behind ` -> ` in it, where it was a line.
 */
export async function play(transcript: string, machine: MountedMachine): Promise<string> {
  const shown: string[] = []
  for (const line of transcript.split('\n')) {
    if (line.startsWith('#')) shown.push(line)
    if (line.startsWith('! ')) {
      await machine.order(line.slice(2))
      shown.push(line)
    }
    if (!line.startsWith('$ ')) continue
    const [command = '', inline] = line.split('   -> ')
    const { stdout, stderr, code } = await machine.play(inSys(command.slice(2)))
    const lines = [...linesOf(stdout), ...linesOf(stderr)]
    if (inline === undefined) {
      shown.push(line, ...lines, ...(code === 0 || stderr === '' ? [] : ['[exit status 1]']))
    } else shown.push(`${command}   -> ${lines.join('; ')}`)
  }
  return normalised(`${shown.join('\n')}\n`)
}

/** Without what every shell and every `ls` says in its own way. */
export function normalised(transcript: string): string {
  return transcript
    .replaceAll(/^(?:mkdir|ls|sh|bash|\/init): .*: (\w[\w ]+)$/gm, 'error: $1')
    .replaceAll(/^\[exit status \d+\]$/gm, '[exit status 1]')
    .replaceAll(/^([dlc-][rwx-]{9}) \d+ \d+ \d+ +(\d+) \w{3} +\d+ +[\d:]+ /gm, '$1 $2 ')
    .replaceAll(/^total \d+\n/gm, '')
    .replaceAll(/^([dl][rwx-]{9} \d+ .*)$/gm, (line) => line.replace(/^(\S+) \d+ /, '$1 0 '))
    .replaceAll(/\n\n+/g, '\n')
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

/** `/sys` is the mount, and `ls -l` is numeric. */
function inSys(command: string): string {
  return command.replaceAll(/(^|[ ;"])\/sys\b/g, '$1$S').replaceAll(/\bls -l(a?) /g, 'ls -ln$1 ')
}
