/** The demo with a VM: a stock Linux guest whose own 8250_pci driver uses the card. */
import { vfioUserDevice } from '../src/host/vmm-arguments.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import { cacheDirectory } from '../vm/cache.ts'
import { type Guest, bootGuest } from '../vm/guest.ts'
import { type VmAssets, prepareVm } from '../vm/prepare.ts'
import { shellInit } from '../vm/shell.ts'
import { answerScript } from './answer.ts'
import { breakCommandLine } from './command-line.ts'
import { inspectCard } from './inspect.ts'
import { type DemoOptions, type Stage, onStage } from './stage.ts'
import { rows, showCounts, showNext } from './summary.ts'
import { talk } from './talk.ts'

/** What the guest runs on each port. */
const ANSWER = '/usr/bin/answer'
/** What prepareVm() says where something is missing, as opposed to failing. */
const CANNOT = new Set<string>(['ENOENT', 'ENOTSUP'])
const LONG_MS = 2000

/**
 * Finds QEMU and the rest, or prepares it, saying so.
 *
 * @returns undefined where that is not possible, the reason being said too
 * @throws what goes wrong on a machine where it is
 */
export async function prepare({ screen, signal }: DemoOptions): Promise<VmAssets | undefined> {
  screen.step('QEMU and a guest')
  const started = performance.now()
  try {
    const assets = await prepareVm({
      signal,
      onProgress: (line) => screen.show(line, 'dim'),
    })
    const { qemu, guestRoot } = assets
    const where = qemu.prepared ? `prepared in ${cacheDirectory()}` : (qemu.argv[0] ?? '')
    screen.show(
      rows({ qemu: `${qemu.version}, ${where}`, guest: `Linux ${guestRoot.release}, BusyBox` }),
    )
    if (performance.now() - started > LONG_MS) {
      screen.show(`ready after ${seconds(started)} s; the next run starts at once`)
    }
    return assets
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof ErrnoError) || !CANNOT.has(error.code)) throw error
    screen.show(`no VM can run here: ${error.message}`)
    return undefined
  }
}

/** @throws what goes wrong; a difference and a time-out say what was expected and what came */
export async function vmDemo(assets: VmAssets, options: DemoOptions): Promise<void> {
  await onStage(options, async (stage) => play(assets, options, stage))
}

async function play(assets: VmAssets, options: DemoOptions, stage: Stage): Promise<void> {
  const { screen, signal } = options
  const { card, conversations } = stage
  screen.step('A guest with the mdev')
  const started = performance.now()
  await using guest = await bootGuest({
    assets,
    signal,
    init: shellInit,
    files: [{ path: ANSWER, mode: 0o755, content: answerScript }],
    devices: ['-device', vfioUserDevice(card.socket)],
  })
  void guest.exited.then(({ stderr }) => {
    stage.fail(new ErrnoError('EPIPE', `QEMU has ended: ${stderr.trim() || 'no message'}`))
  })
  const found = await inspectCard(guest, conversations.length)
  screen.show(`up after ${seconds(started)} s; what the guest says of the card:`)
  screen.show(found.report)
  screen.step('Talking through it')
  await startAnswering(guest, found.ports)
  await talk(
    conversations.map((conversation, index) => ({
      conversation,
      commands: commandsFor(index, found.ports[index] ?? ''),
    })),
    options,
  )
  screen.step('Summary')
  showCounts(screen, card.counts)
  screen.show('\nQEMU was run as:')
  screen.show(breakCommandLine(guest.commandLine))
  showNext(screen, { 'npm run demo -- --no-vm': "the same through mdevkit's own client" })
}

/** What is typed first, by port. */
function commandsFor(index: number, name: string): readonly string[] {
  return index === 0
    ? ['uname -sr', 'ls -d /sys/bus/pci/drivers/serial/0*']
    : ['stty | head -n 1', `grep ^${name.replace('ttyS', '')}: /proc/tty/driver/serial`]
}

async function startAnswering(guest: Guest, ports: readonly string[]): Promise<void> {
  const { status, output } = await guest.run(
    ports.map((name) => `${ANSWER} ${name} </dev/null &`).join('\n'),
  )
  if (status !== 0) throw new ErrnoError('EIO', `guest: ${ANSWER}: ${output}`)
}

function seconds(since: number): string {
  return ((performance.now() - since) / 1000).toFixed(1)
}
