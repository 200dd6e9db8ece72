/** A real guest in a real QEMU: console, shell, reboot, QMP, and what is left when it ends. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, readFile, readdir } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { type VmAssets, prepareVm } from '../../vm/prepare.ts'
import { SHELL_READY, shellInit } from '../../vm/shell.ts'
import { until } from '../support/until.ts'

let assets: VmAssets
let guest: Guest

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  guest = await bootGuest({
    assets,
    init: shellInit,
    devices: ['-device', 'pci-serial-4x', '-device', 'pci-serial-2x'],
  })
})
after(async () => guest?.stop())

test('prepareVm() prepares nothing when all is there', async () => {
  const said: string[] = []
  assert.deepEqual(await prepareVm({ onProgress: (line) => said.push(line) }), assets)
  assert.deepEqual(said, [])
})

test('Guest.run() returns output and status of a command', async () => {
  const { status, output } = await guest.run('uname -r')
  assert.equal(status, 0)
  assert.match(output, /^6\.12\.\d+\S*\n$/)
  assert.ok(assets.modulesDir.endsWith(output.trim()))
  assert.deepEqual(await guest.run('printf "a b"; false'), { status: 1, output: 'a b' })
})

test('Guest.run() keeps the shell whatever a command does', async () => {
  assert.equal((await guest.run('if ; then')).status, 2) // a syntax error
  assert.deepEqual(await guest.run('echo x; exit 3'), { status: 3, output: 'x\n' })
  const lines = `cat <<'END'\n"it's" \\n $HOME\nEND\necho é`
  assert.equal((await guest.run(lines)).output, `"it's" \\n $HOME\né\n`)
  await guest.run('cd /proc; kept=1')
  assert.equal((await guest.run('echo $kept $PWD')).output, '1 /proc\n')
})

test('lspci -vvv shows the machine', async () => {
  const { status, output } = await guest.run('lspci -vvv -n')
  assert.equal(status, 0)
  assert.match(output, /^00:00\.0 0600: 8086:29c0/m) // the q35 host bridge
  assert.match(output, /^00:01\.0 0700: 1b36:0004/m) // pci-serial-4x, QEMU docs/specs/pci-ids.rst
  assert.match(output, /Region 0: I\/O ports at \w+ \[size=32\]/)
})

test('PCI serial ports start at ttyS1, the console being ttyS0', async () => {
  const { output } = await guest.run('grep -v unknown /proc/tty/driver/serial')
  const ports = [...output.matchAll(/^(\d+): uart:16550A/gm)].map((match) => Number(match[1]))
  assert.deepEqual(ports, [0, 1, 2, 3, 4, 5, 6])
})

test('Guest.run() returns a MiB of output exactly', async () => {
  await guest.run('seq 1000001 1002048 >/tmp/part') // 16 KiB; more of it would take seq long
  const { output } = await guest.run('for i in $(seq 64); do cat /tmp/part; done')
  const part = Array.from({ length: 2048 }, (_, index) => `${1_000_001 + index}\n`).join('')
  assert.equal(output.length, 1_048_576)
  assert.ok(output === part.repeat(64))
})

test('Guest.waitFor() says on time-out what it expected and what came', async () => {
  await guest.run('seq 101 130')
  await assert.rejects(guest.waitFor(/^never$/m, { timeoutMs: 50 }), (error: Error) => {
    assert.equal((error as NodeJS.ErrnoException).code, 'ETIMEDOUT')
    assert.match(error.message, /^guest console: no \/\^never\$\/m within 50 ms; its last lines/)
    assert.match(error.message, /\n112\n[^]*\n130\n/)
    assert.doesNotMatch(error.message, /\n110\n/)
    return true
  })
})

test('Guest.waitFor() consumes up to the match', async () => {
  guest.send('echo one two; echo one three\n')
  assert.equal((await guest.waitFor(/one (\w+)/))[1], 'two')
  assert.equal((await guest.waitFor(/one (\w+)/))[1], 'three')
})

test('a guest reboots, and its console goes on', async () => {
  const boot = 'cat /proc/sys/kernel/random/boot_id'
  const before = (await guest.run(boot)).output
  guest.send('reboot -f\n')
  await guest.waitFor(SHELL_READY)
  assert.equal((await guest.qmpEvent('RESET')).event, 'RESET')
  assert.notEqual((await guest.run(boot)).output, before)
})

test('Guest.qmp() returns what QEMU does, and refuses as it does', async () => {
  assert.deepEqual(await guest.qmp('query-status'), { status: 'running', running: true })
  await assert.rejects(guest.qmp('device_del', { id: 'none' }), { code: 'ENODEV' })
  await assert.rejects(guest.qmp('no-such'), { code: 'EINVAL', message: /^qmp no-such: / })
})

test('init runs with modules and files, and its end is the end of the guest', async () => {
  await using own = await bootGuest({
    assets,
    init: 'lsmod; cat /etc/motd; echo "cpus $(nproc)"',
    modules: ['nvme', '8250_pci', 'dummy numdummies=2'],
    files: [{ path: '/etc/motd', mode: 0o644, content: 'welcome\n' }],
    sharedMemory: false,
    cpus: 2,
  })
  const { code, signal } = await own.exited
  assert.deepEqual({ code, signal }, { code: 0, signal: null })
  assert.match(own.console, /^nvme_core .* nvme\b/m)
  assert.match(own.console, /^dummy /m)
  assert.match(own.console, /^welcome\r?\ncpus 2\r?$/m)
  await assert.rejects(own.run('true'), { code: 'EPIPE', message: /ended with status 0/ })
})

test('Guest.stop() leaves no process and no directory', async () => {
  const own = await bootGuest({ assets, init: shellInit })
  const waiting = own.waitFor('never')
  const refused = assert.rejects(waiting, { code: 'EPIPE' })
  await own.stop()
  await own.stop()
  await refused
  assert.deepEqual(await remains(own), [])
})

test('bootGuest() stops the guest when its signal is aborted', async () => {
  const abort = new AbortController()
  const own = await bootGuest({ assets, init: shellInit, signal: abort.signal })
  abort.abort()
  await own.exited
  assert.deepEqual(await remains(own), [])
  await assert.rejects(bootGuest({ assets, init: '', signal: abort.signal }), {
    name: 'AbortError',
  })
})

test('bootGuest() says why QEMU refuses', async () => {
  const refused = bootGuest({ assets, init: '', devices: ['-device', 'no-such'] })
  await assert.rejects(refused, {
    code: 'EIO',
    message: /^QEMU: ended with status 1: .*'no-such' is not a valid device model name/s,
  })
})

for (const end of ['SIGKILL', 'SIGTERM', 'SIGINT', 'exit'] as const) {
  test(`a guest does not outlive its process, ended by ${end}`, async () => {
    const program = fileURLToPath(new URL('boot-and-wait.js', import.meta.url))
    const parent = spawn(process.execPath, [program, end], { stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = once(parent, 'close')
    const [line] = (await once(parent.stdout.setEncoding('utf8'), 'data')) as [string]
    const orphan = JSON.parse(line) as { pid: number; commandLine: string }
    if (end !== 'exit') parent.kill(end)
    await closed
    // no event tells of the end of somebody else's process
    await until(async () => assert.deepEqual(await remains(orphan), []))
  })
}

/** What there still is of a guest: processes, its watchdog among them, and its directory. */
async function remains({ commandLine }: Pick<Guest, 'commandLine'>): Promise<string[]> {
  const directory = /-initrd (\S+)\/initramfs/.exec(commandLine)![1]!
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (words.includes(directory)) found.push(`${pid}: ${words.replaceAll('\0', ' ')}`)
  }
  const there = await access(directory).then(
    () => true,
    () => false,
  )
  return there ? [...found, directory] : found
}
