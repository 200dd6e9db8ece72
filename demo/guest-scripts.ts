/** What the guest of `npm run guest` runs: shell scripts around a card that is its first device. */
import { shellQuote } from '../src/lib/shell-line.ts'
import type { GuestFile } from '../vm/initramfs.ts'
import { printMark } from './marked-output.ts'

/** Of the card in the guest: the first slot after the host bridge, in which QEMU puts the first device. */
export const SLOT = '0000:00:01.0'
const DEVICE = `/sys/bus/pci/devices/${SLOT}`

/** Where the output of a command goes, as QEMU names the ports. */
export const PORTS = ['mdevkit.stdout', 'mdevkit.stderr'] as const

const SCRIPT = '/etc/mdevkit-guest'

/** Runs a script below BusyBox's init, which halt, poweroff and reboot talk to. The guest ends with it. */
export function underInit(script: string): { readonly init: string; readonly files: GuestFile[] } {
  const body = `#!/bin/sh
export PATH=/usr/bin:/bin HOME=/root
${script}
poweroff -f
`
  return {
    init: 'exec init',
    files: [
      { path: SCRIPT, mode: 0o755, content: body },
      { path: '/etc/inittab', mode: 0o644, content: INITTAB },
    ],
  }
}

/** By whatever word the guest is told to end: nothing in it needs time for that. */
const INITTAB = `::once:${SCRIPT}
::shutdown:/bin/poweroff -f
`

/**
 * Sets SLOT, and BAR0 to BAR5 to where the guest has placed what the card has. A card that no driver of the guest has taken is
 * enabled, so that its BARs answer.
 */
const findCard = `
export SLOT=${SLOT}
[ -e ${DEVICE}/driver ] || echo 1 >${DEVICE}/enable
index=0
while [ $index -lt 6 ] && read -r start end flags; do
  # linux/ioport.h: IORESOURCE_IO, IORESOURCE_MEM
  [ $((flags & 0x300)) = 0 ] || export BAR$index=$(printf '0x%x' $start)
  index=$((index + 1))
done <${DEVICE}/resource
cd /root
`

/** Runs a command, its output and its status going to the {@link PORTS}; a first mark says that it begins. */
export function commandScript(command: string, mark: string): string {
  return `${findCard}
port() { # waits for the port of that name
  while :; do
    for each in /sys/class/virtio-ports/*; do
      name=$(cat $each/name 2>/dev/null)
      [ "$name" = "$1" ] && [ -c /dev/\${each##*/} ] && echo /dev/\${each##*/} && return
    done
    usleep 10000
  done
}
exec 3>"$(port ${PORTS[0]})" 4>"$(port ${PORTS[1]})"
${printMark(mark, 0)} >&3
sh -c ${shellQuote(command)} </dev/null >&3 2>&4 3>&- 4>&-
status=$?
${printMark(mark, '$status')} >&4
${printMark(mark, '$status')} >&3
while :; do sleep 3600; done # what was said may still be under way
`
}

export interface ShellOptions {
  /** Printed when the shell is about to begin. */
  readonly mark: string
  readonly rows: number
  readonly columns: number
  /** Said first. */
  readonly title: string
}

/** A root shell with job control on the console, behind a banner. The guest ends with it. */
export function shellScript({ mark, rows, columns, title }: ShellOptions): string {
  return `${findCard}
banner() {
  echo ${shellQuote(title)}
  lspci -n -s $SLOT 2>/dev/null
  index=0
  while [ $index -lt 6 ] && read -r start end flags; do
    size=$((end - start + 1))
    if [ $((flags & 0x100)) != 0 ]; then
      printf '  $BAR%d  0x%x  %d I/O ports\\n' $index $start $size
    elif [ $((flags & 0x200)) != 0 ]; then
      first=\${first:-$index}
      printf '  $BAR%d  0x%x  %d bytes of memory: devmem $BAR%d 32\\n' $index $start $size $index
    fi
    index=$((index + 1))
  done <${DEVICE}/resource
  [ ! -e ${DEVICE}/driver ] || echo "  driver: $(basename $(readlink ${DEVICE}/driver))"
  echo 'Try: lspci -vk -s $SLOT'\${first:+'; devmem $BAR'$first' 32'}
  echo 'exit, poweroff or Ctrl-] ends it.'
}
{
  stty sane rows ${rows} cols ${columns}
  ${printMark(mark, 0)}
  banner
  PS1='guest:\\w# ' setsid -c sh
} </dev/ttyS0 >/dev/ttyS0 2>&1
`
}
