/**
 * mtty as a guest's own serial driver finds it: `mdevkit run` three times, once for each kind of far end, and one guest
 * with all three cards. Their ports are ttyS1 to ttyS6 in the guest, ttyS0 being its console.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { type VmAssets, prepareVm } from '../../vm/prepare.ts'
import { SHELL_READY, shellInit } from '../../vm/shell.ts'
import { type Mdevkit, type Report, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { Terminal } from '../support/terminal.ts'

const FAR_ENDS = ['pty', 'socket', 'loopback'] as const

/** `peek TTY REGISTER` and `poke TTY REGISTER VALUE` reach a port's registers behind the driver's back. */
const REGISTER =
  '$((0x$(sed -n "s/^$1: .*port:\\([0-9A-F]*\\).*/\\1/p" /proc/tty/driver/serial) + $2))'
const PEEK = `#!/bin/sh
dd if=/dev/port bs=1 count=1 skip=${REGISTER} 2>/dev/null | od -An -tu1
`
const POKE = `#!/bin/sh
printf "\\\\x$(printf %02x $3)" | dd of=/dev/port bs=1 seek=${REGISTER} conv=notrunc 2>/dev/null
`

/** Every byte there is, in no order that repeats. */
const DATA = Buffer.concat(
  Array.from({ length: 64 }, (_, index) => createHash('sha256').update(`${index}`).digest()),
)
const LOOPBACK_SIZE = 16 * 1024

const scratch = new Scratch()
const hosts: Mdevkit[] = []
const reports: Report[] = []
let assets: VmAssets
let guest: Guest

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  for (const farEnd of FAR_ENDS) {
    const { host, report } = await serve(
      ['mtty', '--type', 'mtty-2', '--set', `ports=${farEnd}`, '--verbose'],
      { root: scratch.path },
    )
    hosts.push(host)
    reports.push(report)
  }
  guest = await bootGuest({
    assets,
    init: shellInit,
    files: [
      { path: '/bin/peek', mode: 0o755, content: PEEK },
      { path: '/bin/poke', mode: 0o755, content: POKE },
      { path: '/data', mode: 0o644, content: DATA },
    ],
    // the first report's arguments as they are, memory and machine included; of the others only the card
    sharedMemory: false,
    devices: reports.map(({ qemu }, index) => (index === 0 ? qemu : qemu.slice(-2))),
  })
})
after(async () => {
  await guest?.stop()
  for (const host of hosts) await host.stop()
  scratch[Symbol.dispose]()
})

test('the guest’s serial driver finds two 16550A on each card, at 115200 baud', async () => {
  const { output } = await guest.run('grep 16550A /proc/tty/driver/serial')
  const ports = [...output.matchAll(/^(\d+): uart:16550A port:([0-9A-F]+) irq:(\d+)/gm)]
  assert.deepEqual(
    ports.map((match) => match[1]),
    ['0', '1', '2', '3', '4', '5', '6'],
  )
  // the kernel says so when it finds a port; base_baud is the clock of 1.8432 MHz divided by 16
  const { output: log } = await guest.run('dmesg | grep base_baud')
  const found =
    /0000:00:0[123]\.0: ttyS[1-6] at I\/O 0x\w+ \(irq = \d+, base_baud = 115200\) is a 16550A/g
  assert.equal([...log.matchAll(found)].length, 6, log)
})

test('lspci shows an mtty-2 as the kernel’s own mtty looks', async () => {
  const { output } = await guest.run('lspci -vvv -n -s 00:01.0 2>/dev/null')
  // samples/vfio-mdev/mtty.c, mtty_create_config_space()
  assert.match(output, /^00:01\.0 0700: 4348:3253 \(rev 10\) \(prog-if 02( \[16550\])?\)$/m)
  assert.match(output, /Subsystem: 4348:3253$/m)
  assert.match(output, /Interrupt: pin A routed to IRQ \d+$/m)
  assert.match(output, /Region 0: I\/O ports at \w+ \[size=8\]$/m)
  assert.match(output, /Region 1: I\/O ports at \w+ \[size=8\]$/m)
  assert.match(output, /Kernel driver in use: serial$/m)
  assert.doesNotMatch(output, /Region 2|Capabilities|Expansion ROM/)
})

interface LineSettings {
  readonly stty: string
  readonly speed: number
  readonly modes: readonly string[]
  /** Linux 8250_port.c sets EPAR (0x10) whenever the parity is not odd, also without parity. */
  readonly lcr: number
  readonly divisor: number
}

/** PC16550D data sheet, "Line Control Register" and "Programmable Baud Generator" at 1.8432 MHz. */
const LINE_SETTINGS: readonly LineSettings[] = [
  {
    stty: '9600 cs8 -parenb -cstopb',
    speed: 9600,
    modes: ['-parenb', 'cs8', '-cstopb'],
    lcr: 0x13,
    divisor: 12,
  },
  {
    stty: '115200 cs7 parenb -parodd',
    speed: 115_200,
    modes: ['parenb', '-parodd', 'cs7'],
    lcr: 0x1a,
    divisor: 1,
  },
  {
    stty: '300 cs5 -parenb cstopb',
    speed: 300,
    modes: ['-parenb', 'cs5', 'cstopb'],
    lcr: 0x14,
    divisor: 384,
  },
  {
    stty: '115200 cs8 parenb parodd cstopb',
    speed: 115_200,
    modes: ['parenb', 'parodd', 'cs8', 'cstopb'],
    lcr: 0x0f,
    divisor: 1,
  },
]

for (const { stty, speed, modes, lcr, divisor } of LINE_SETTINGS) {
  test(`stty ${stty} reaches the line control and divisor registers`, async () => {
    for (const port of [1, 2]) {
      await guest.run(`exec 3<>/dev/ttyS${port}`)
      assert.equal((await guest.run(`stty -F /dev/ttyS${port} raw -echo ${stty}`)).status, 0)
      const { output } = await guest.run(`stty -F /dev/ttyS${port} -a 2>/dev/null`)
      assert.match(output, new RegExp(`^speed ${speed} baud;`))
      const shown = output.split(/[\s;]+/)
      for (const mode of modes) assert.ok(shown.includes(mode), `${mode} in ${output}`)
      assert.equal(Number((await guest.run(`peek ${port} 3`)).output), lcr)
      const latch = `poke ${port} 3 ${lcr | 0x80}; peek ${port} 0; peek ${port} 1; poke ${port} 3 ${lcr}`
      const [low = 0, high = 0] = (await guest.run(latch)).output.trim().split('\n').map(Number)
      assert.equal(low + 256 * high, divisor)
      await guest.run('exec 3>&-')
    }
  })
}

/** The far end of a port of the pty card or of the socket card. */
async function openFarEnd(card: 0 | 1, port: number): Promise<Terminal> {
  const path = join(reports[card]!.socket, '..', `port${port}`)
  return card === 0 ? Terminal.open(path) : Terminal.connect(path)
}

/** One line and all bytes, each way, on one port. */
async function exchange(tty: number, farEnd: Terminal): Promise<void> {
  await guest.run(`exec 3<>/dev/ttyS${tty}; stty -F /dev/ttyS${tty} 115200 cs8 -parenb raw -echo`)
  await guest.run('echo hello from the guest >&3')
  assert.equal(await farEnd.received.take(21), 'hello from the guest\n')
  farEnd.write('hello from the host\n')
  assert.equal((await guest.run('read -r line <&3; echo "$line"')).output, 'hello from the host\n')
  await guest.run('cat /data >&3')
  const received = Buffer.from(await farEnd.received.take(DATA.length), 'latin1')
  assert.ok(received.equals(DATA), 'from the guest')
  farEnd.write(DATA)
  const { output } = await guest.run(`head -c ${DATA.length} <&3 | cmp - /data`)
  assert.equal(output, '', 'to the guest')
  await guest.run('exec 3>&-')
}

for (const [card, farEnd] of [
  [0, 'terminal'],
  [1, 'socket'],
] as const) {
  test(`every byte goes both ways between each port and its ${farEnd}`, async () => {
    for (const port of [0, 1]) {
      await using far = await openFarEnd(card, port)
      await exchange(1 + 2 * card + port, far)
    }
  })
}

test('both ports of a card work at the same time', async () => {
  await using first = await openFarEnd(0, 0)
  await using second = await openFarEnd(0, 1)
  await guest.run('exec 3<>/dev/ttyS1 4<>/dev/ttyS2; stty raw -echo <&3; stty raw -echo <&4')
  const compared = guest.run(
    `cat /data >&3 & cat /data >&4 &
     head -c ${DATA.length} <&3 >/in3 & head -c ${DATA.length} <&4 >/in4 &
     wait; cmp /in3 /data; cmp /in4 /data`,
  )
  for (const terminal of [first, second]) terminal.write(DATA)
  for (const terminal of [first, second]) {
    const received = Buffer.from(await terminal.received.take(DATA.length), 'latin1')
    assert.ok(received.equals(DATA))
  }
  assert.equal((await compared).output, '')
  await guest.run('exec 3>&- 4>&-')
})

test('what the host typed before the guest opened the port is not lost', async () => {
  await using terminal = await openFarEnd(0, 0)
  terminal.write('early\n')
  await guest.run('exec 3<>/dev/ttyS1; stty raw -echo <&3')
  assert.equal((await guest.run('read -r line <&3; echo "$line"')).output, 'early\n')
  await guest.run('exec 3>&-')
})

test(`a loopback plug gives ${LOOPBACK_SIZE / 1024} KiB back byte for byte`, async () => {
  const { status, output } = await guest.run(
    `dd if=/dev/urandom of=/random bs=1k count=${LOOPBACK_SIZE / 1024} 2>/dev/null
     exec 3<>/dev/ttyS5; stty raw -echo <&3
     cat /random >&3 & head -c ${LOOPBACK_SIZE} <&3 | cmp - /random
     status=$?; wait; (exit $status)`,
  )
  assert.equal(output, '')
  assert.equal(status, 0)
  await guest.run('exec 3>&-')
})

test('a loopback plug gives a break back as a break', async () => {
  await guest.run('exec 3<>/dev/ttyS6; stty raw -echo -ignbrk -brkint parmrk <&3')
  const lcr = Number((await guest.run('peek 6 3')).output)
  await guest.run(`poke 6 3 ${lcr | 0x40}; poke 6 3 ${lcr}`)
  const { output } = await guest.run(
    'head -c 3 <&3 | od -An -tx1; grep ^6: /proc/tty/driver/serial',
  )
  assert.match(output, /^ ff 00 00\n/) // termios(3), PARMRK: a break reads so
  assert.match(output, / brk:1 /)
  await guest.run('exec 3>&-')
})

/** Waits in the guest until its driver sees these modem lines on an open port. */
async function modemLines(tty: number, pattern: string): Promise<void> {
  await guest.run(`until grep -q '^${tty}: .* ${pattern}$' /proc/tty/driver/serial; do :; done`)
}

test('carrier follows the program at the far end, and its going hangs up', async () => {
  for (const [card, tty] of [
    [0, 1],
    [1, 3],
  ] as const) {
    const lines = async (pattern: string) => modemLines(tty, pattern)
    await guest.run(`stty -F /dev/ttyS${tty} raw -echo clocal; exec 3<>/dev/ttyS${tty}`)
    await lines('RTS|DTR')
    const farEnd = await openFarEnd(card, 0)
    await lines('RTS|CTS|DTR|DSR|CD')
    const hungUp = guest.run('stty -clocal <&3; echo reading; cat <&3')
    await guest.waitFor('reading')
    await farEnd.close()
    await hungUp
    // the kernel ended what was open; a port opened anew waits for nobody with clocal
    await guest.run(`exec 3>&-; stty -F /dev/ttyS${tty} clocal; exec 3<>/dev/ttyS${tty}`)
    await lines('RTS|DTR')
    await guest.run('exec 3>&-')
  }
})

for (const [how, reset] of [
  ['reboots', () => guest.send('reboot -f\n')],
  ['is reset', async () => guest.qmp('system_reset')],
] as const) {
  test(`the guest ${how}, and all ports work afterwards`, async () => {
    await using terminal = await openFarEnd(0, 0)
    await guest.run('exec 3<>/dev/ttyS1; stty raw -echo <&3; echo before >&3')
    await terminal.received.waitFor(/before\n/)
    await reset()
    await guest.waitFor(SHELL_READY)
    await exchange(1, terminal)
    await using second = await openFarEnd(0, 1)
    await exchange(2, second)
    await using socket = await openFarEnd(1, 1)
    await exchange(4, socket)
    const echo =
      'exec 3<>/dev/ttyS5; stty raw -echo <&3; echo back >&3; read -r line <&3; echo $line'
    assert.equal((await guest.run(echo)).output, 'back\n')
  })
}

test('the hosts have refused nothing and found no fault', () => {
  for (const host of hosts) {
    const lines = host.stderr.text.trim().split('\n')
    assert.deepEqual(
      lines.filter((line) => !/: client pid \d+ \(.*\): attached$/.test(line)),
      [],
    )
  }
})
