/** `npm run guest` as a command: an mdev of any driver in a guest, for a command or for a person. */
import { exitCodeOf } from '../src/cli/exit-codes.ts'
import { vfioUserDevice } from '../src/host/vmm-arguments.ts'
import { prepareVm } from '../vm/prepare.ts'
import { type GuestParts, runCommand } from './guest-command.ts'
import { type GuestCommandOptions, parseGuestOptions, USAGE, UsageFault } from './guest-options.ts'
import { SLOT } from './guest-scripts.ts'
import { sayingStream, session } from './guest-session.ts'
import { readHostFiles } from './host-files.ts'
import { describeFailure, Interruption } from './program.ts'
import { RawTerminal } from './raw-terminal.ts'
import { RunRefused, ServedMdev } from './served-mdev.ts'

const USAGE_EXIT = 2

/** @returns the exit code: the command's status, or why there is none */
export async function main(args: readonly string[], interrupted: AbortSignal): Promise<number> {
  const terminal = new RawTerminal()
  const say = (text: string) => void process.stderr.write(terminal.lines(text))
  try {
    const options = parseGuestOptions(args)
    if (options !== 'help') return await run(options, terminal, say, interrupted)
    process.stdout.write(USAGE)
    return 0
  } catch (error) {
    terminal.leave()
    if (error instanceof Interruption) {
      say(`\nguest: ended by ${error.message}; nothing is left behind\n`)
      return error.exitCode
    }
    if (error instanceof RunRefused) return error.exitCode
    if (error instanceof UsageFault) {
      say(`guest: ${error.message}\n${USAGE}`)
      return USAGE_EXIT
    }
    say(`guest: ${describeFailure(error)}\n`)
    return exitCodeOf(error)
  }
}

async function run(
  options: GuestCommandOptions,
  terminal: RawTerminal,
  say: (text: string) => void,
  interrupted: AbortSignal,
): Promise<number> {
  const { driver, runOptions, command, memoryMiB, modules } = options
  if (command === undefined && !RawTerminal.isThere)
    throw new UsageFault('no terminal here for a shell; give a command behind --')
  const files = await readHostFiles(options.files, memoryMiB)
  const failed = new AbortController()
  const signal = AbortSignal.any([interrupted, failed.signal])
  await using mdev = await ServedMdev.serve({ driver, options: runOptions, signal, onSaid: say })
  void mdev.ended.then((error) => failed.abort(error))
  try {
    const assets = await prepareVm({ signal, onProgress: (line) => say(`${line}\n`) })
    const parts: GuestParts = {
      assets,
      signal,
      memoryMiB,
      modules,
      files,
      moduleIndexes: true,
      devices: ['-device', vfioUserDevice(mdev.socket)],
      noReboot: true, // a guest that ends is not to begin again
      extraKernelArgs: ['panic=-1'], // and a kernel that panics is to end
    }
    if (command !== undefined) {
      const { stdout, stderr } = process
      return await runCommand(command, parts, { stdout, stderr, console: sayingStream(say) })
    }
    await session(parts, { terminal, title: titleOf(mdev, driver) })
    return 0
  } finally {
    terminal.leave()
    signal.throwIfAborted() // with what ended the guest, and not that it has ended
  }
}

function titleOf({ type, places }: ServedMdev, driver: string): string {
  const there = places.map(([name, path]) => `; its ${name} is ${path} on this machine`)
  return `${type} of ${driver} is ${SLOT} here ($SLOT)${there.join('')}`
}
