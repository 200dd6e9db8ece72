/** What a guest's own kernel says of the card: which driver has it, and what its ports are called. */
import { ErrnoError } from '../src/lib/errno.ts'
import type { Guest } from '../vm/guest.ts'

const ID = '4348:3253'

export interface FoundCard {
  /** Names of the ports, such as `ttyS1`, in the order of their BARs. */
  readonly ports: readonly string[]
  /** For people, in the guest's words. */
  readonly report: string
}

/**
 * @param count how many ports the card has
 * @throws ENODEV the guest has no such card, or its driver found other ports on it
 */
export async function inspectCard(guest: Guest, count: number): Promise<FoundCard> {
  const listing = await ask(guest, `lspci -D -n -d ${ID} 2>/dev/null`)
  const slot = /^\S+/.exec(listing)?.[0]
  if (slot === undefined) throw new ErrnoError('ENODEV', `guest: lspci shows no ${ID}`)
  const device = `/sys/bus/pci/devices/${slot}`
  const log = await ask(guest, `dmesg | grep -F '${slot}: tty'`)
  const driver = await ask(guest, `readlink ${device}/driver`)
  const module = await ask(guest, `readlink ${device}/driver/module`)
  const report = [
    `lspci     ${listing}`,
    ...log.split('\n').map((line) => `dmesg     ${line}`),
    `driver    ${device}/driver -> ${driver}`,
    `module    ${device}/driver/module -> ${module}`,
  ].join('\n')
  const ports = await portNames(guest, device)
  if (ports.length !== count) {
    const names = ports.join(', ') || 'none'
    throw new ErrnoError(
      'ENODEV',
      `guest: ports of the card:\n  expected ${count}\n  came     ${names}\n${report}`,
    )
  }
  return { ports, report }
}

/** Matches the addresses of the card's BARs with those of the guest's serial ports. */
async function portNames(guest: Guest, device: string): Promise<readonly string[]> {
  const bars = await ask(guest, `cut -d ' ' -f 1 ${device}/resource`)
  const ports = await ask(guest, 'cd /sys/class/tty && grep ^0x ttyS*/port')
  const names = new Map(
    [...ports.matchAll(/^(.+)\/port:(.+)$/gm)].map(([, name, port]) => [Number(port), name]),
  )
  return bars
    .split('\n')
    .map((start) => names.get(Number(start)))
    .filter((name) => name !== undefined)
}

async function ask(guest: Guest, command: string): Promise<string> {
  return (await guest.run(command)).output.trimEnd()
}
