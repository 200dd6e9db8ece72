/**
 * Two cards that use guest memory, in one guest: the checksum example reads, the copier reads and writes. Once with memory
 * that is shared, which they reach by themselves, and once with memory that is not, for which they have to ask.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { SHELL_READY, shellInit } from '../../vm/shell.ts'
import { type Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { GuestCard } from './guest-card.ts'

/** In the order of their slots, from 00:01.0 on. */
const DRIVERS = ['examples/checksum.ts', 'test/vm/fixtures/copier.ts']

const MIB = 2 ** 20
/** Memory that Linux leaves alone, in the middle of it so that /dev/mem can be read and written there. */
const SOURCE = 128 * MIB
const TARGET = 160 * MIB
const MEMORY_MIB = 256
const RESERVED = `memmap=${64 * MIB}$${SOURCE}`

/** What the guest puts at the source: its file /data. */
const DATA = randomBytes(4 * MIB)

const FILL = `#!/bin/sh
dd if=/data of=/dev/mem bs=1M seek=${SOURCE / MIB} &&
dd if=/dev/zero of=/dev/mem bs=1M seek=${TARGET / MIB} count=4
`

/** `copied FROM TO LENGTH` compares a part of /data with a part of the target, and zeros with what is around that. */
const COPIED = `#!/bin/sh
{ head -c 1 /dev/zero; tail -c +$(($1 + 1)) /data | head -c $3; head -c 1 /dev/zero; } >/tmp/expected
at=$((${TARGET} + $2 - 1))
dd if=/dev/mem bs=4096 skip=$((at / 4096)) count=$(($3 / 4096 + 2)) 2>/dev/null |
  tail -c +$((at % 4096 + 1)) | head -c $(($3 + 2)) | cmp - /tmp/expected
`

// registers, from the heads of the drivers
const CHECKSUM = { ADDRESS: 0x00, ADDRESS_HIGH: 0x04, LENGTH: 0x08, SUM: 0x0c, STATUS: 0x10 }
const COPIER = { SOURCE: 0x00, TARGET: 0x04, LENGTH: 0x08, STATUS: 0x0c }

/** What the checksum engine is to come to. */
function sumOf(offset: number, length: number): number {
  return DATA.subarray(offset, offset + length).reduce((sum, byte) => sum + byte, 0)
}

const ADVICE =
  /^warn: \S+: guest memory came without a file: .*-object memory-backend-memfd,\S*share=on -machine \S*memory-backend=mem/gm

for (const { memory, sharedMemory, advised } of [
  { memory: 'shared memory', sharedMemory: true, advised: 0 },
  { memory: 'memory that is not shared', sharedMemory: false, advised: 1 },
]) {
  describe(`a guest with ${memory}`, () => {
    const scratch = new Scratch()
    const hosts: Mdevkit[] = []
    let guest: Guest
    let checksum: GuestCard
    let copier: GuestCard

    before(async () => {
      const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
      const cards: (readonly string[])[] = []
      for (const driver of DRIVERS) {
        const { host, report } = await serve([`${PROJECT}${driver}`], { root: scratch.path })
        hosts.push(host)
        cards.push(report.qemu.slice(-2))
      }
      guest = await bootGuest({
        assets,
        init: shellInit,
        files: [
          { path: '/data', mode: 0o644, content: DATA },
          { path: '/bin/fill', mode: 0o755, content: FILL },
          { path: '/bin/copied', mode: 0o755, content: COPIED },
        ],
        memoryMiB: MEMORY_MIB,
        sharedMemory,
        extraKernelArgs: [RESERVED],
        devices: cards,
      })
      await findCards()
    })
    after(async () => {
      await guest?.stop()
      for (const host of hosts) await host.stop()
      scratch[Symbol.dispose]()
    })

    async function findCards(): Promise<void> {
      checksum = await GuestCard.find(guest, '0000:00:01.0')
      copier = await GuestCard.find(guest, '0000:00:02.0')
      for (const card of [checksum, copier]) await card.command({ memory: true, busMaster: true })
    }

    async function fill(): Promise<void> {
      const { status, output } = await guest.run('fill 2>&1')
      assert.equal(status, 0, output)
    }

    /** Checks that the target has these bytes of the source, and no more. */
    async function assertCopied(from: number, to: number, length: number): Promise<void> {
      const { status, output } = await guest.run(`copied ${from} ${to} ${length} 2>&1`)
      assert.deepEqual({ status, output }, { status: 0, output: '' })
    }

    /** Tells the checksum engine where to read; it says that it is done until it is reset. */
    async function aim(address: number): Promise<void> {
      await guest.run(`echo 1 >/sys/bus/pci/devices/${checksum.slot}/reset`)
      await checksum.write(0, CHECKSUM.ADDRESS, address % 2 ** 32)
      await checksum.write(0, CHECKSUM.ADDRESS_HIGH, Math.floor(address / 2 ** 32))
    }

    /** What the checksum engine has come to: STATUS and SUM. */
    async function summed(): Promise<readonly [number, number]> {
      const status = await checksum.settled(0, CHECKSUM.STATUS, 0)
      return [status, await checksum.read(0, CHECKSUM.SUM)]
    }

    async function sum(address: number, length: number): Promise<readonly [number, number]> {
      await aim(address)
      await checksum.write(0, CHECKSUM.LENGTH, length)
      return summed()
    }

    /** Runs the copier. @returns STATUS */
    async function copy(source: number, target: number, length: number): Promise<number> {
      await copier.write(0, COPIER.SOURCE, source)
      await copier.write(0, COPIER.TARGET, target)
      await copier.write(0, COPIER.LENGTH, length)
      return copier.settled(0, COPIER.STATUS, 1)
    }

    test('cards find in memory what the guest has put there', async () => {
      await fill()
      for (const [offset, length] of [
        [0, 1],
        [4095, 2],
        [123, 5678],
        [0, MIB],
      ] as const) {
        const expected = [1, sumOf(offset, length)]
        assert.deepEqual(await sum(SOURCE + offset, length), expected)
      }
    })

    // QEMU refuses a transfer of more than 1 MiB, so longer ones go in parts
    for (const [from, to, length] of [
      [0, 0, 4096],
      [3, 4097, 4099],
      [0, 0, MIB],
      [1, 3, MIB + 1],
      [4095, 1, 3 * MIB + 7],
    ] as const) {
      test(`a guest finds the ${length} bytes that a card has copied, and nothing around them`, async () => {
        await fill()
        assert.equal(await copy(SOURCE + from, TARGET + to, length), 2)
        await assertCopied(from, to, length)
      })
    }

    test('two cards at work at once do not disturb each other', async () => {
      await fill()
      await copy(SOURCE, TARGET, 0)
      await aim(SOURCE)
      const start = [
        copier.writing(0, COPIER.LENGTH, 3 * MIB),
        checksum.writing(0, CHECKSUM.LENGTH, MIB),
      ]
      await guest.run(start.join('; '))
      assert.deepEqual(await summed(), [1, sumOf(0, MIB)])
      assert.equal(await copier.settled(0, COPIER.STATUS, 1), 2)
      await assertCopied(0, 0, 3 * MIB)
    })

    test('what is not memory cannot be reached, nor anything with bus mastering off', async () => {
      const nowhere = 0xd000_0000
      assert.deepEqual(await sum(nowhere, 4096), [2, 0])
      assert.equal(await copy(SOURCE, nowhere, 4096), 3)
      assert.equal(await copy(nowhere, TARGET, 4096), 3)
      assert.equal(await copy(MEMORY_MIB * MIB - 4096, TARGET, 8192), 3)
      await copier.command({ memory: true, busMaster: false })
      assert.equal(await copy(SOURCE, TARGET, 4096), 3)
      await copier.command({ memory: true, busMaster: true })
      assert.equal(await copy(SOURCE, TARGET, 4096), 2)
    })

    test('the guest reboots, and the cards use its memory again', async () => {
      guest.send('reboot -f\n')
      await guest.waitFor(SHELL_READY)
      await findCards()
      await fill()
      assert.equal(await copy(SOURCE, TARGET, 2 * MIB), 2)
      await assertCopied(0, 0, 2 * MIB)
      assert.deepEqual(await sum(TARGET, MIB), [1, sumOf(0, MIB)])
    })

    test(`each host has advised ${advised} times to share memory, and said nothing else`, async () => {
      await guest.qmp('quit')
      const { code, stderr } = await guest.exited
      assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
      for (const host of hosts) {
        await host.stderr.waitFor(/client pid \d+ \(.*\): gone\n/)
        assert.equal(host.stderr.text.match(ADVICE)?.length ?? 0, advised, host.stderr.text)
        assert.equal(host.stderr.text.split('\n').length - 1, 2 + advised, host.stderr.text)
      }
    })
  })
}
