/** `npm run guest` as people run it: a card of one's own in a guest, for a command and at a terminal. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, constants, openSync } from 'node:fs'
import { after, test } from 'node:test'
import { prepareVm } from '../../vm/prepare.ts'
import { openPty } from '../../src/os/pty.ts'
import { DemoRun, isQemu, runDemo } from '../demo/demo-run.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { Transcript } from '../support/transcript.ts'
import { until } from '../support/until.ts'

const EXAMPLE = `${PROJECT}examples/scratchpad.ts`
const GUEST = { program: 'guest' } as const
/** Many times what a terminal takes to hand on what was written. */
const WAY_MS = 10_000

const scratch = new Scratch()
after(() => scratch[Symbol.dispose]())
await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })

scratch.write(
  'faulty.ts',
  `import { defineDriver } from 'mdevkit'
console.log('said by the module')
export const faulty = defineDriver({
  name: 'faulty',
  types: { 1: {}, 2: {} },
  probe(mdev) {
    let value = 0
    const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe19, class: 0xff_00_00 })
    const read = (offset: number): number => {
      if (offset === 8) throw new Error('no such register')
      return value
    }
    pci.bar(1, { kind: 'io', size: 16 }, { read, write() {} })
    const write = (offset: number, next: number): void => {
      if (offset === 16) process.exit(3)
      value = next
    }
    pci.bar(2, { kind: 'mem32', size: 4096 }, { read, write })
    return { reset() {} }
  },
})
`,
)
scratch.write('text', 'of the host\n')
chmodSync(scratch.write('program', '#!/bin/sh\necho "run as $0 $*"\n'), 0o755)

test('guest runs a command beside a card of one’s own: output, faults, files, modules, status', async () => {
  const command = [
    String.raw`printf 'a\0\377\003b\n'`,
    'echo complaint >&2',
    'lspci -n -s $SLOT',
    'devmem $BAR2 32 0xcafe; devmem $BAR2 32',
    'devmem $((BAR2 + 8)) 32 >/dev/null',
    'echo $BAR0-$((BAR1 > 0))-$BAR3; pwd; cat; cat text; /opt/program 1',
    "grep -o '^dummy ' /proc/modules; ls -d /sys/class/net/dummy1",
    'echo kernel >/dev/kmsg; echo "<0>emergency" >/dev/kmsg',
    '(exit 7)',
  ].join('\n')
  const options = ['--file', 'text', '--file', 'program:/opt/', '--module', 'dummy numdummies=2']
  const { status, stdout, stderr, left } = await runDemo(
    ['faulty.ts', '--type', 'faulty-2', ...options, '--', command],
    { npm_lifecycle_event: 'guest', INIT_CWD: scratch.path },
    GUEST,
  )
  assert.equal(
    stdout,
    [
      Buffer.from('a\0\u00ff\u0003b', 'latin1').toString('utf8'),
      '00:01.0 ff00: 1b36:be19',
      '0x0000CAFE',
      '-1-',
      '/root',
      'of the host',
      'run as /opt/program 1',
      'dummy ',
      '/sys/class/net/dummy1',
      '',
    ].join('\n'),
    stderr,
  )
  assert.match(stderr, /^said by the module$/m)
  assert.match(stderr, /^complaint$/m)
  assert.match(stderr, /^error: .*no such register.*faulty\.ts:10/m)
  assert.match(stderr, /emergency/)
  assert.equal(status, 7)
  assert.deepEqual(left, [])
})

test('guest says so when it is powered off before its command has ended, after all that said', async () => {
  const command = 'seq 200000; poweroff; sleep 1000'
  const { status, stdout, stderr, left } = await runDemo([EXAMPLE, '--', command], {}, GUEST)
  const numbers = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`)
  assert.ok(stdout === numbers.join(''), `${stdout.length} bytes: …${stdout.slice(-100)}`)
  assert.match(stderr, /^guest: EPIPE: the guest has ended before its command did\n/m)
  assert.equal(status, 1)
  assert.deepEqual(left, [])
})

test('guest fails with 1 when the driver ends its process', async () => {
  const args = ['faulty.ts', '--', 'echo before; devmem $((BAR2 + 16)) 32 1; sleep 1000']
  const environment = { npm_lifecycle_event: 'guest', INIT_CWD: scratch.path }
  const { status, stdout, stderr, left } = await runDemo(args, environment, GUEST)
  assert.equal(stdout, 'before\n')
  assert.match(stderr, /^guest: EPIPE: mdevkit run ended with status 3\n/m)
  assert.equal(status, 1)
  assert.deepEqual(left, [])
})

test('guest refuses a module that the kernel does not have, and boots nothing', async () => {
  const args = [EXAMPLE, '--module', 'no-such', '--', 'true']
  const { status, stdout, stderr, left } = await runDemo(args, {}, GUEST)
  assert.equal(stdout, '')
  assert.match(stderr, /^guest: ENOENT: .*no module no_such/m)
  assert.doesNotMatch(stderr, /attached/)
  assert.equal(status, 3)
  assert.deepEqual(left, [])
})

test('guest ended by SIGTERM while its command runs exits 143 and leaves nothing behind', async () => {
  await using run = new DemoRun([EXAMPLE, '--', 'echo first; sleep 1000'], {}, GUEST)
  await run.stdout.waitFor(/^first\n/) // as it is said
  const { status, stderr, left } = await run.stop('SIGTERM')
  assert.equal(status, 143)
  assert.match(stderr, /\nguest: ended by SIGTERM; nothing is left behind\n$/)
  assert.deepEqual(left, [])
  assert.deepEqual(run.processes, [])
})

test('guest killed while its command runs leaves nothing behind either', async () => {
  await using run = new DemoRun([EXAMPLE, '--', 'echo first; sleep 1000'], {}, GUEST)
  await run.stdout.waitFor(/^first\n/)
  assert.ok(run.processes.some(isQemu))
  assert.equal((await run.stop('SIGKILL')).status, 'SIGKILL')
  await until(() => assert.deepEqual([run.left, run.processes], [[], []]))
})

test('guest ends when nobody reads what its command says', async () => {
  await using run = new DemoRun([EXAMPLE, '--', 'yes'], {}, GUEST)
  await run.stdout.waitFor(/^y\ny\n/)
  run.closeStdout()
  const { status, left } = await run.ended
  assert.equal(status, 141)
  assert.deepEqual(left, [])
})

/** A guest at a terminal, which is as a shell leaves it to programs. */
class AtTerminal implements AsyncDisposable {
  readonly run: DemoRun
  readonly screen = new Transcript('terminal')
  readonly before: string
  readonly #fd: number
  readonly #pty

  constructor(args: readonly string[]) {
    const buffer = new Uint8Array(4096)
    this.#pty = openPty({
      onReadable: () => {
        for (let count; (count = this.#pty.read(buffer)) > 0;) {
          this.screen.push(Buffer.from(buffer.subarray(0, count)).toString('latin1'))
        }
      },
    })
    // open as long as the terminal is looked at: with nobody there it loses what is written
    this.#fd = openSync(this.#pty.path, constants.O_RDWR | constants.O_NOCTTY)
    this.#stty('sane', 'rows', '33', 'columns', '99')
    this.before = this.settings
    this.run = new DemoRun(args, {}, { ...GUEST, terminalFd: this.#fd })
    // what it said last may still be on its way through the terminal
    void this.run.ended.then(({ status }) =>
      setTimeout(() => this.screen.end(`it ended with ${status}`), WAY_MS).unref(),
    )
  }

  get settings(): string {
    return this.#stty('-g')
  }

  /** Resolves when the guest's shell waits for a command. */
  async prompt(): Promise<void> {
    await this.screen.waitFor(/guest:~# /)
  }

  type(text: string): void {
    const bytes = Buffer.from(text)
    assert.equal(this.#pty.write(bytes), bytes.length)
  }

  #stty(...args: readonly string[]): string {
    return execFileSync('stty', ['-F', this.#pty.path, ...args], { encoding: 'utf8' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run[Symbol.asyncDispose]()
    closeSync(this.#fd)
    this.#pty.close()
  }
}

test('guest at a terminal is a shell with job control, until exit, and says where the card is', async () => {
  await using guest = new AtTerminal(['mtty', '--type', 'mtty-2'])
  const { screen } = guest
  await screen.waitFor(/mtty-2 of mtty is 0000:00:01\.0 here/)
  await screen.waitFor(/its port0 is \/dev\/pts\/\d+ on this machine/)
  await screen.waitFor(/\$BAR0 {2}0x[0-9a-f]+ {2}8 I\/O ports\r\n/)
  await screen.waitFor(/driver: serial\r\n/)
  await guest.prompt()
  guest.type('lspci -nk -s $SLOT\r')
  await screen.waitFor(/\r\n00:01\.0 0700: 4348:3253 /)
  await screen.waitFor(/\r\n\tKernel driver in use: serial\r\n/)
  await guest.prompt()
  assert.notEqual(guest.settings, guest.before)
  guest.type('stty size; tty\r')
  await screen.waitFor(/\r\n33 99\r\n\/dev\/ttyS0\r\n/)
  await guest.prompt()
  guest.type('echo -n now; sleep 1000\r')
  await screen.waitFor(/\r\nnow/)
  guest.type('\u0003')
  await guest.prompt()
  guest.type('echo status $?; exit\r')
  await screen.waitFor(/status 130\r\n/)
  const { status, left } = await guest.run.ended
  assert.equal(status, 0)
  assert.equal(guest.settings, guest.before)
  assert.deepEqual(left, [])
})

test('guest at a terminal is left by Ctrl-], whatever runs', async () => {
  await using guest = new AtTerminal([EXAMPLE])
  await guest.screen.waitFor(/devmem \$BAR0 32\r\n/)
  await guest.prompt()
  guest.type('devmem $BAR0 32 77; echo $(devmem $BAR0); sleep 1000\r')
  await guest.screen.waitFor(/0x0000004D\r\n/)
  guest.type('x\u001dy')
  const { status, left } = await guest.run.ended
  assert.equal(status, 0)
  assert.equal(guest.settings, guest.before)
  assert.deepEqual(left, [])
})

test('guest at a terminal ended by SIGTERM restores the terminal', async () => {
  await using guest = new AtTerminal([EXAMPLE])
  await guest.prompt()
  assert.notEqual(guest.settings, guest.before)
  const { status, left } = await guest.run.stop('SIGTERM')
  assert.equal(status, 143)
  assert.equal(guest.settings, guest.before)
  assert.deepEqual(left, [])
})

test('guest at a terminal restores it when QEMU is killed, and fails with 1', async () => {
  await using guest = new AtTerminal([EXAMPLE])
  await guest.prompt()
  const qemu = guest.run.processes.find(isQemu)
  assert.ok(qemu !== undefined, 'no QEMU is running')
  process.kill(qemu.pid, 'SIGKILL')
  const { status, left } = await guest.run.ended
  await guest.screen.waitFor(/guest: EPIPE: QEMU has ended: SIGKILL/)
  assert.equal(status, 1)
  assert.equal(guest.settings, guest.before)
  assert.deepEqual(left, [])
})

test('guest at a terminal, killed, leaves the terminal as it was, and nothing behind', async () => {
  await using guest = new AtTerminal([EXAMPLE])
  await guest.prompt()
  assert.notEqual(guest.settings, guest.before)
  assert.equal((await guest.run.stop('SIGKILL')).status, 'SIGKILL')
  await until(() => assert.equal(guest.settings, guest.before))
  await until(() => assert.deepEqual([guest.run.left, guest.run.processes], [[], []]))
})
