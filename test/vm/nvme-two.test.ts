/**
 * Two guests at once on two slices of one image: each verified while the other writes; then one's QEMU is killed, and then the
 * host, while they write. Whatever a guest was told is flushed is there for the next one.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { type DiskTool, diskToolFiles } from '../../vm/disk-tools.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm, type VmAssets } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { Mdevkit } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { imageAt, PATIENCE, runIn } from './nvme-guest.ts'

const MIB = 2 ** 20
const UUIDS = {
  a: '5d4b5b0c-6f0e-4e0c-9a2e-0c7a3a1f7e0a',
  b: '5d4b5b0c-6f0e-4e0c-9a2e-0c7a3a1f7e0b',
  /** Between the others, and of nobody: it is written by no guest. */
  idle: '5d4b5b0c-6f0e-4e0c-9a2e-0c7a3a1f7e0c',
} as const
const SLICE_MIB = 32
const HALF_MIB = SLICE_MIB / 2
/** More than the slices, so that there is something beyond them. */
const IMAGE_MIB = 4 * SLICE_MIB
/** What no guest has written. */
const FILL = 0x5a
/** Bytes in which a guest repeats what it writes, its own mark first. */
const UNIT = 16
const RECORD = 4096
/** Records that a guest writes before it is killed, or to show that it goes on. */
const SOME = 15

type Name = 'a' | 'b'

const scratch = new Scratch()
const image = `${scratch.path}/disk.img`
const progress = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }
const guests = new Map<Name, Guest>()
let assets: VmAssets
let host: Mdevkit
let sockets: Record<Name, string>

before(async () => {
  assets = await prepareVm(progress)
  writeFileSync(image, Buffer.alloc(IMAGE_MIB * MIB, FILL))
  await startHost()
  await Promise.all([boot('a', ['fio', 'mke2fs']), boot('b', ['fio', 'mke2fs'])])
})
after(async () => {
  await Promise.all(Array.from(guests.values(), (guest) => guest.stop()))
  await host?.stop('SIGKILL')
  scratch[Symbol.dispose]()
})

/** A process of its own, with all three mdevs. */
async function startHost(): Promise<void> {
  const args = ['host', 'nvme', '--name', 'disk', '--verbose', '--set', `image=${image}`]
  host = await Mdevkit.start(args, { root: scratch.path })
  const [line] = await host.stdout.waitFor(/^.*\n/)
  const { control } = JSON.parse(line) as { control: string }
  const client = await ControlClient.connect(control)
  try {
    const create = async (uuid: string) =>
      (await client.create('nvme-64m', uuid, [['size', String(SLICE_MIB)]])).socket ?? ''
    const a = await create(UUIDS.a)
    await create(UUIDS.idle)
    sockets = { a, b: await create(UUIDS.b) }
  } finally {
    client.close()
  }
}

async function boot(name: Name, tools: readonly DiskTool[]): Promise<Guest> {
  const guest = await bootGuest({
    assets,
    init: shellInit,
    files: await diskToolFiles(tools, progress),
    modules: ['nvme', 'ext4', 'crc32c_generic'],
    memoryMiB: 384,
    devices: ['-device', vfioUserDevice(sockets[name])],
    ...PATIENCE,
  })
  guests.set(name, guest)
  return guest
}

function guestOf(name: Name): Guest {
  const guest = guests.get(name)
  assert.ok(guest)
  return guest
}

/** Where each slice starts in the image, bytes. */
function offsets(): ReadonlyMap<string, number> {
  const { slices } = JSON.parse(readFileSync(`${image}.slices.json`, 'utf8')) as {
    slices: readonly { uuid: string; offset: number }[]
  }
  return new Map(slices.map(({ uuid, offset }) => [uuid, offset]))
}

/** Writes the upper half of the disk, over and over, until `/stop` is there. `/round` is there when all of it was written. */
const writeUpperHalf = (mark: string) => `
  yes ${mark}.UPPER. | head -c ${MIB} >/upper
  (
    i=${HALF_MIB}
    while [ ! -e /stop ]; do
      dd if=/upper of=/dev/nvme0n1 bs=${MIB} seek=$i oflag=direct 2>/dev/null || echo $i >>/wrong
      i=$((i + 1))
      [ $i -lt ${SLICE_MIB} ] || { i=${HALF_MIB}; touch /round; }
    done
    touch /stopped
  ) >/dev/null 2>&1 &
`

/** Writes the lower half once, anywhere, and reads it back. */
const verifyLowerHalf = (mark: string) =>
  `/usr/bin/fio --name=verify --filename=/dev/nvme0n1 --rw=randwrite --bs=64k --iodepth=16 --ioengine=libaio --direct=1 ` +
  `--size=${HALF_MIB}m --thread --verify=pattern --verify_pattern='"${mark}"%o' --do_verify=1 --verify_fatal=1 --minimal`

test('each of two guests is verified while the other writes, and has its own bytes of the image', async () => {
  const both = ['a', 'b'] as const
  const markOf = (name: Name) => `SLICE-${name.toUpperCase()}.`
  await Promise.all(both.map(async (name) => runIn(guestOf(name), writeUpperHalf(markOf(name)))))
  await Promise.all(
    both.map(async (name) => {
      const output = await runIn(guestOf(name), verifyLowerHalf(markOf(name)))
      assert.doesNotMatch(output, /verify:/)
    }),
  )
  await Promise.all(
    both.map(async (name) =>
      runIn(
        guestOf(name),
        'until [ -e /round ]; do sleep 0.1; done; touch /stop; until [ -e /stopped ]; do sleep 0.1; done; [ ! -e /wrong ]',
      ),
    ),
  )
  const places = offsets()
  for (const name of both) {
    const bytes = imageAt(image, places.get(UUIDS[name])!, SLICE_MIB * MIB)
    for (let at = 0; at < bytes.length; at += UNIT)
      assert.equal(bytes.toString('latin1', at, at + 8), markOf(name), `${name} at ${at}`)
  }
  for (const offset of [places.get(UUIDS.idle)!, (IMAGE_MIB - SLICE_MIB) * MIB])
    assert.ok(imageAt(image, offset, SLICE_MIB * MIB).every((byte) => byte === FILL))
  assert.doesNotMatch(host.stderr.text, /^(debug|warn|error)/m)
})

/** Writes records into a file, each synced and then told of, until one cannot be. */
const writeRecords = (file: string) => `
  (
    n=0
    while printf '%-${RECORD - 1}d\\n' $n >/record &&
      dd if=/record of=${file} bs=${RECORD} seek=$n conv=notrunc,fsync 2>/dev/null; do
      echo "flushed $n"
      n=$((n + 1))
    done
  ) &
`

/** Waits until it has flushed some more records. */
async function flushing(guest: Guest): Promise<void> {
  for (let i = 0; i < SOME; i++) await guest.waitFor(/flushed \d+\n/, PATIENCE)
}

/** The last record that a guest has told of. */
function lastFlushed(guest: Guest): number {
  const last = [...guest.console.matchAll(/flushed (\d+)\n/g)].at(-1)
  assert.ok(last)
  return Number(last[1])
}

/** The file system is whole, once its journal is replayed, and has all records of a file up to one. */
async function check(guest: Guest, file: string, last: number): Promise<void> {
  await runIn(
    guest,
    `/usr/sbin/e2fsck -p /dev/nvme0n1 || [ $? = 1 ]
    /usr/sbin/e2fsck -fn /dev/nvme0n1 && mkdir -p /mnt && mount -t ext4 /dev/nvme0n1 /mnt`,
  )
  await runIn(
    guest,
    `seq 0 ${last} | while read n; do printf '%-${RECORD - 1}d\\n' $n; done >/expected
    head -c ${(last + 1) * RECORD} ${file} | cmp - /expected`,
  )
}

/** Nothing in its log says that the disk has had any trouble. */
async function hasNoticedNothing(guest: Guest): Promise<void> {
  await runIn(
    guest,
    `! dmesg | grep -E 'nvme|ext4|EXT4' | grep -iE 'timeout|error|fail|reset|abort'`,
  )
}

test('QEMU killed while its guest writes: what was flushed is there, and the other guest goes on', async () => {
  const format =
    '/usr/sbin/mke2fs -q -F -t ext4 /dev/nvme0n1 && mkdir -p /mnt && mount -t ext4 /dev/nvme0n1 /mnt'
  const [first, other] = [guestOf('a'), guestOf('b')]
  await Promise.all([first, other].map(async (guest) => runIn(guest, format)))
  await Promise.all([first, other].map(async (guest) => runIn(guest, writeRecords('/mnt/records'))))
  await Promise.all([flushing(first), flushing(other)])
  process.kill(first.pid, 'SIGKILL')
  assert.equal((await first.exited).signal, 'SIGKILL')
  await flushing(other)
  const next = await boot('a', ['e2fsck'])
  await check(next, '/mnt/records', lastFlushed(first))
  await hasNoticedNothing(next)
  await flushing(other)
  await hasNoticedNothing(other)
})

test('the host killed while two guests write: what was flushed is there once it is started again', async () => {
  const [first, other] = [guestOf('a'), guestOf('b')]
  await runIn(first, writeRecords('/mnt/more'))
  await Promise.all([flushing(first), flushing(other)])
  assert.equal((await host.stop('SIGKILL')).signal, 'SIGKILL')
  for (const guest of [first, other]) process.kill(guest.pid, 'SIGKILL')
  await Promise.all([first.exited, other.exited])
  const places = offsets()
  await startHost()
  assert.deepEqual(offsets(), places)
  const [a, b] = await Promise.all([boot('a', ['e2fsck']), boot('b', ['e2fsck'])])
  await Promise.all([
    check(a, '/mnt/more', lastFlushed(first)),
    check(b, '/mnt/records', lastFlushed(other)),
  ])
  await Promise.all([a, b].map(hasNoticedNothing))
})
