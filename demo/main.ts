/** The demo as a command: its options, which of the two demos to run, and what the exit code says. */
import { parseArgs } from 'node:util'
import { clientDemo } from './client-demo.ts'
import { describeFailure, Interruption } from './program.ts'
import { Screen } from './screen.ts'
import type { DemoOptions } from './stage.ts'
import { prepare, vmDemo } from './vm-demo.ts'
import { type OpenWire, openTerminal } from './wire.ts'

const USAGE = `usage: npm run demo -- [options]
  --no-vm    without a VM: mdevkit's own client plays the guest
  --verbose  show every line of the transcript
  --help     show this
`

const TITLE = 'mdevkit: a serial card written in TypeScript'

/** All went well; something else came than was expected, or it failed; wrong usage. */
const EXIT = { ok: 0, failed: 1, usage: 2 } as const

/** An answer takes milliseconds; a guest on a busy machine may need longer. */
const TIMEOUT_MS = 30_000

export interface Surroundings {
  write(text: string): void
  writeError(text: string): void
  readonly colour: boolean
  /** Ends the demo when aborted, with an {@link Interruption}. */
  readonly signal: AbortSignal
  readonly timeoutMs?: number
  readonly openWire?: OpenWire
}

/** @returns the exit code */
export async function main(args: readonly string[], around: Surroundings): Promise<number> {
  const options = parse(args)
  if (options instanceof Error) {
    around.writeError(`demo: ${options.message}\n${USAGE}`)
    return EXIT.usage
  }
  if (options.help) {
    around.write(USAGE)
    return EXIT.ok
  }
  const { signal, timeoutMs = TIMEOUT_MS, openWire = openTerminal } = around
  const screen = new Screen(around)
  try {
    screen.title(TITLE)
    await run(options.vm, { screen, verbose: options.verbose, signal, timeoutMs, openWire })
    return EXIT.ok
  } catch (error) {
    if (signal.aborted && signal.reason instanceof Interruption) {
      around.writeError(`\ndemo: ended by ${signal.reason.message}; nothing is left behind\n`)
      return signal.reason.exitCode
    }
    around.writeError(`\ndemo failed: ${describeFailure(error)}\n`)
    return EXIT.failed
  }
}

async function run(wantsVm: boolean, options: DemoOptions): Promise<void> {
  const assets = wantsVm ? await prepare(options) : undefined
  if (assets !== undefined) return vmDemo(assets, options)
  if (wantsVm) options.screen.show('So this is the demo without one, as with --no-vm.')
  return clientDemo(options)
}

function parse(
  args: readonly string[],
): { readonly vm: boolean; readonly verbose: boolean; readonly help: boolean } | Error {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        'no-vm': { type: 'boolean', default: false },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    return { vm: !values['no-vm'], verbose: values.verbose, help: values.help }
  } catch (error) {
    if (error instanceof TypeError) return error
    throw error
  }
}
