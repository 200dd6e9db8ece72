/**
 * The life cycle, counts and refusals of kernel-mdev-transcript.md, chapters 1 to 3, section by section, and the attributes of 8.11.
 *
 * What is left out: how texts are written to files (the sysfs tests have that), and what has no like here: drivers without a device_api
 * (2.1) and types of one name (2.2) cannot be written down, EPROBE_DEFER (2.7) is the kernel's own.
 */
import assert from 'node:assert/strict'
import type { Player } from './transcript-player.ts'
import { mbochs, mdpy, mprobe, MTTY } from './transcript-drivers.ts'

export interface TranscriptCase {
  /** Of the transcript. */
  readonly section: string
  readonly title: string
  readonly play: (at: Player) => Promise<void>
}

const BASE = '83b8f4f2-509f-382f-3c1e-e6bfe0fa'

const ports = (one: number, two: number) => ({ 'mtty-1': one, 'mtty-2': two })
const displays = (each: number) => ({ 'mdpy-vga': each, 'mdpy-xga': each, 'mdpy-hd': each })
const memory = (small: number, medium: number, large: number) => ({
  'mbochs-small': small,
  'mbochs-medium': medium,
  'mbochs-large': large,
})
const probes = (each: number) => ({ 'mprobe-one': each, 'mprobe-two': each })
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1)

/** A value that is refused, one that cannot be written, and one that is not there. */
const BAD_ATTRIBUTES = [
  ['EINVAL', 'assign', 'bad'],
  ['EACCES', 'assigned', 'word'],
  ['ENOENT', 'nothing', 'word'],
] as const

export const TRANSCRIPT_CASES: readonly TranscriptCase[] = [
  {
    section: '1.4',
    title:
      'create takes a UUID in either case, names the mdev in lower case, and tells add and bind',
    async play(at) {
      await at.has({ mtty: MTTY })
      await at.creates('mtty/mtty-1', `${BASE}1001`, ports(23, 11))
      await at.tells(`add ${BASE}1001`, `bind ${BASE}1001`)
      for (const end of ['1002', '1003', '1004', '1005'])
        await at.creates('mtty/mtty-1', BASE + end)
      await at.creates('mtty/mtty-1', `${BASE}abcd`.toUpperCase(), ports(18, 9))
      await at.lists(...['1001', '1002', '1003', '1004', '1005', 'abcd'].map((end) => BASE + end))
    },
  },
  {
    section: '1.5',
    title: 'create of a UUID that is there is EEXIST, whatever its case, type and parent',
    async play(at) {
      await at.has({ mtty: MTTY, mdpy: mdpy(), mbochs: mbochs() })
      await at.creates('mtty/mtty-1', `${BASE}ABCD`)
      for (const type of ['mtty/mtty-1', 'mtty/mtty-2', 'mdpy/mdpy-vga', 'mbochs/mbochs-small']) {
        await at.refuses('EEXIST', type, `${BASE}abcd`)
        await at.refuses('EEXIST', type, `${BASE}ABCD`)
      }
      await at.lists(`${BASE}abcd`)
    },
  },
  {
    section: '1.6',
    title: 'create of what is no UUID is EINVAL; the nil UUID is one',
    async play(at) {
      await at.has({ mtty: MTTY })
      for (const text of [
        '\n',
        'hello',
        `${BASE}109`,
        `${BASE}109\n`,
        '83b8f4f2509f382f3c1ee6bfe0fa1099',
        '83b8f4f2509f382f3c1ee6bfe0fa1099    \n',
        `{${BASE}1099}`,
        `{${BASE}109}`,
        `${BASE}1099zz`,
        `${BASE}1099\r\n`,
        ` ${BASE}1099`,
        `g${BASE.slice(1)}1099`,
        `${BASE}1099`.replaceAll('-', '_'),
        '83b8f4f25-09f-382f-3c1e-e6bfe0fa1099',
        `urn:uuid:${BASE}1099`,
      ]) {
        await at.refuses('EINVAL', 'mtty/mtty-1', text)
      }
      await at.sees('mtty', ports(24, 12))
      await at.creates('mtty/mtty-1', '00000000-0000-0000-0000-000000000000', ports(23, 11))
      await at.lists('00000000-0000-0000-0000-000000000000')
    },
  },
  {
    section: '1.7',
    title:
      'remove gives the instance back and tells unbind and remove; what is not there is ENOENT',
    async play(at) {
      await at.has({ mtty: MTTY })
      for (const number of upTo(3)) {
        await at.creates('mtty/mtty-1', number)
        await at.tells(`add ${number}`, `bind ${number}`)
      }
      for (const number of upTo(3)) {
        await at.removes(number)
        await at.tells(`unbind ${number}`, `remove ${number}`)
        await at.refusesToRemove('ENOENT', number)
      }
      await at.lists()
      await at.sees('mtty', ports(24, 12))
    },
  },
  {
    section: '1.12',
    title: 'a driver that counts: two types share 24 ports, and the one too many is ENOSPC',
    async play(at) {
      await at.has({ mtty: MTTY })
      await at.sees('mtty', ports(24, 12))
      await at.creates('mtty/mtty-2', 1, ports(22, 11))
      await at.creates('mtty/mtty-1', 2, ports(21, 10))
      let [one, two] = [21, 10]
      for (const number of [3, 4, 5, 6, 7, 8, 9, 10, 11]) {
        ;[one, two] = [one - 2, two - 1]
        await at.creates('mtty/mtty-2', number, ports(one, two))
      }
      await at.creates('mtty/mtty-2', 12, ports(1, 0))
      await at.refuses('ENOSPC', 'mtty/mtty-2', 13, ports(1, 0))
      await at.creates('mtty/mtty-1', 13, ports(0, 0))
      await at.refuses('ENOSPC', 'mtty/mtty-1', 14, ports(0, 0))
      await at.refuses('EEXIST', 'mtty/mtty-1', 1) // before exhaustion
      await at.lists(...upTo(13)) // a failed create leaves nothing behind
      await at.removes(1)
      await at.sees('mtty', ports(2, 1))
      await at.creates('mtty/mtty-1', 15, ports(1, 0))
      await at.refuses('ENOSPC', 'mtty/mtty-2', 16, ports(1, 0))
    },
  },
  {
    section: '1.13',
    title: 'the core counts for all types of a parent: the one too many is EUSERS',
    async play(at) {
      await at.has({ mdpy: mdpy() })
      await at.sees('mdpy', displays(4))
      await at.creates('mdpy/mdpy-vga', 1, displays(3))
      await at.creates('mdpy/mdpy-xga', 2, displays(2))
      await at.creates('mdpy/mdpy-hd', 3, displays(1))
      await at.creates('mdpy/mdpy-hd', 4, displays(0))
      await at.refuses('EUSERS', 'mdpy/mdpy-vga', 5, displays(0))
      await at.refuses('EEXIST', 'mdpy/mdpy-vga', 1)
      await at.removes(2)
      await at.sees('mdpy', displays(1))
      await at.creates('mdpy/mdpy-vga', 5, displays(0))
    },
  },
  {
    section: '1.13',
    title: 'a count of 0 bears nothing, and one of -1 as many as an unsigned int holds',
    async play(at) {
      await at.has({ none: mdpy(0), many: mdpy(4_294_967_295) })
      await at.sees('none', displays(0))
      await at.refuses('EUSERS', 'none/mdpy-vga', 1)
      await at.sees('many', displays(4_294_967_295))
      await at.creates('many/mdpy-vga', 1, displays(4_294_967_294))
    },
  },
  {
    section: '1.14',
    title: 'a budget of 256 MB: a large type uses up small ones',
    async play(at) {
      await at.has({ mbochs: mbochs() })
      await at.sees('mbochs', memory(64, 16, 4))
      await at.creates('mbochs/mbochs-small', 1, memory(63, 15, 3))
      await at.creates('mbochs/mbochs-large', 2, memory(47, 11, 2))
      await at.creates('mbochs/mbochs-large', 3, memory(31, 7, 1))
      await at.creates('mbochs/mbochs-large', 4, memory(15, 3, 0))
      await at.refuses('ENOSPC', 'mbochs/mbochs-large', 5, memory(15, 3, 0))
      await at.creates('mbochs/mbochs-medium', 6, memory(11, 2, 0))
      await at.creates('mbochs/mbochs-medium', 7, memory(7, 1, 0))
      await at.creates('mbochs/mbochs-medium', 8, memory(3, 0, 0))
      await at.refuses('ENOSPC', 'mbochs/mbochs-medium', 9, memory(3, 0, 0))
      await at.creates('mbochs/mbochs-small', 10, memory(2, 0, 0))
      await at.creates('mbochs/mbochs-small', 11, memory(1, 0, 0))
      await at.creates('mbochs/mbochs-small', 12, memory(0, 0, 0))
      await at.refuses('ENOSPC', 'mbochs/mbochs-small', 13, memory(0, 0, 0))
      await at.removes(6)
      await at.sees('mbochs', memory(4, 1, 0))
    },
  },
  {
    section: '1.14',
    title: 'a budget of 20 MB has no room for a large one',
    async play(at) {
      await at.has({ mbochs: mbochs(20) })
      await at.sees('mbochs', memory(5, 1, 0))
      await at.refuses('ENOSPC', 'mbochs/mbochs-large', 1)
    },
  },
  {
    section: '1.15',
    title: 'a parent that goes takes its idle mdevs with it, in the order of their creation',
    async play(at) {
      await at.has({ mtty: MTTY })
      await at.creates('mtty/mtty-1', 1)
      await at.creates('mtty/mtty-2', 2)
      await at.tells('add 1', 'bind 1', 'add 2', 'bind 2')
      await at.unregisters('mtty')
      await at.tells('unbind 1', 'remove 1', 'unbind 2', 'remove 2', 'unregistered mtty')
      await at.lists()
      await at.sees('mtty', undefined)
    },
  },
  {
    section: '2.3',
    title: 'max_instances 0 refuses all with EUSERS',
    async play(at) {
      await at.has({ 'mprobe-a': mprobe(0).driver })
      await at.sees('mprobe-a', probes(0))
      await at.refuses('EUSERS', 'mprobe-a/mprobe-one', 1)
    },
  },
  {
    section: '2.6',
    title: 'max_instances counts for each parent, and the UUID for all',
    async play(at) {
      const { driver } = mprobe(2)
      await at.has({ 'mprobe-a': driver, 'mprobe-b': driver })
      await at.creates('mprobe-a/mprobe-one', 1)
      await at.creates('mprobe-a/mprobe-two', 2, probes(0))
      await at.sees('mprobe-b', probes(2))
      await at.refuses('EUSERS', 'mprobe-a/mprobe-one', 3)
      await at.creates('mprobe-b/mprobe-one', 3)
      await at.refuses('EEXIST', 'mprobe-b/mprobe-one', 1)
      await at.sees('mprobe-a', probes(0))
      await at.sees('mprobe-b', probes(1))
    },
  },
  {
    section: '2.7',
    title:
      'a probe that fails is the errno of create; add and remove are told, and nothing is left',
    async play(at) {
      const card = mprobe(2)
      await at.has({ 'mprobe-a': card.driver })
      await at.creates('mprobe-a/mprobe-one', 1)
      await at.tells('add 1', 'bind 1')
      for (const code of ['EIO', 'ENODEV', 'ENXIO'] as const) {
        card.probeError = code
        await at.refuses(code, 'mprobe-a/mprobe-one', 4)
        await at.tells('add 4', 'remove 4')
      }
      await at.lists(1)
      await at.sees('mprobe-a', probes(1))
      card.probeError = undefined
      await at.creates('mprobe-a/mprobe-one', 4, probes(0))
    },
  },
  {
    section: '8.11',
    title: 'an attribute that is refused is the errno of its write, or of a creation with it',
    async play(at) {
      await at.has({ 'mprobe-a': mprobe(2).driver })
      for (const [code, name, text] of BAD_ATTRIBUTES) {
        const attributes = [
          ['assign', 'good'],
          [name, text],
        ] as const
        await at.refuses(code, 'mprobe-a/mprobe-one', 1, probes(2), attributes)
      }
      await at.lists()
      await at.creates('mprobe-a/mprobe-one', 1)
      await at.writes(1, 'assign', 'one')
      for (const [code, name, text] of BAD_ATTRIBUTES) await at.refusesToWrite(code, 1, name, text)
      await at.refusesToWrite('ENOENT', 2, 'assign', 'one')
      await at.hasAttributes(1, [['assign', 'one']])
      await at.writes(1, 'assign', 'two')
      await at.hasAttributes(1, [['assign', 'two']])
    },
  },
  {
    section: '3.1',
    title: 'remove of an mdev that is open waits for its client; nobody else notices',
    async play(at) {
      await at.has({ mtty: MTTY })
      await at.creates('mtty/mtty-1', 1)
      await at.creates('mtty/mtty-1', 2)
      await at.tells('add 1', 'bind 1', 'add 2', 'bind 2')
      const client = at.opens(1)
      await at.tells('attach 1')
      await at.refusesToRemove('EBUSY', 1) // of ours: without waiting
      const removal = at.waitsToRemove(1)
      await at.tells('removing 1')
      await at.lists(2)
      await at.sees('mtty', ports(22, 11))
      // There the file is gone (ENOENT); here a request says what is the matter.
      await at.refusesToRemove('EAGAIN', 1)
      await at.refuses('EEXIST', 'mtty/mtty-1', 1)
      await at.creates('mtty/mtty-1', 3)
      await at.removes(2)
      assert.ok(client.session.device.regions.length > 0) // the holder goes on
      assert.throws(() => at.opens(1), { code: 'EAGAIN' }) // another one cannot
      await at.tells('add 3', 'bind 3', 'unbind 2', 'remove 2')
      client.session.close()
      await removal
      await at.tells('detach 1', 'unbind 1', 'remove 1')
      await at.lists(3)
      await at.sees('mtty', ports(23, 11))
    },
  },
  {
    section: '3.4',
    title:
      'a parent that goes waits for the client of an mdev; create and remove are ENODEV meanwhile',
    async play(at) {
      const { driver } = mprobe(8)
      await at.has({ 'mprobe-a': driver, 'mprobe-b': driver })
      await at.creates('mprobe-a/mprobe-one', 1)
      await at.creates('mprobe-a/mprobe-two', 2)
      await at.tells('add 1', 'bind 1', 'add 2', 'bind 2')
      const client = at.opens(1)
      await at.tells('attach 1')
      const end = at.unregisters('mprobe-a')
      await at.tells('removing 1')
      await at.refuses('ENODEV', 'mprobe-a/mprobe-one', 4)
      await at.sees('mprobe-a', probes(6))
      await at.refusesToRemove('ENODEV', 2)
      await at.lists(2)
      await at.creates('mprobe-b/mprobe-one', 5)
      await at.tells('add 5', 'bind 5')
      client.session.close()
      await end
      await at.tells('detach 1', 'unbind 1', 'remove 1', 'unbind 2', 'remove 2')
      await at.tells('unregistered mprobe-a')
      await at.lists(5)
      await at.sees('mprobe-a', undefined)
    },
  },
  {
    section: '3.5',
    title: 'a parent that has gone can come again, with all its instances',
    async play(at) {
      const { driver } = mprobe(8)
      await at.has({ 'mprobe-a': driver })
      await at.creates('mprobe-a/mprobe-one', 1)
      await at.tells('add 1', 'bind 1')
      await at.unregisters('mprobe-a')
      await at.tells('unbind 1', 'remove 1', 'unregistered mprobe-a')
      await at.has({ 'mprobe-a': driver })
      await at.sees('mprobe-a', probes(8))
      await at.creates('mprobe-a/mprobe-one', 1)
    },
  },
  {
    section: '3.6',
    title: 'of 16 that create one UUID at once one succeeds, and of 16 that remove it then',
    async play(at) {
      await at.has({ mtty: MTTY })
      const sixteen = Array.from({ length: 16 }, () => 1)
      for (let round = 0; round < 10; round++) {
        const created = await at.createAtOnce(sixteen.map((number) => ['mtty/mtty-1', number]))
        assert.deepEqual(created, { ok: 1, EEXIST: 15 })
        const { ok, ...refused } = await at.removeAtOnce(sixteen)
        assert.equal(ok, 1)
        assert.deepEqual(
          Object.keys(refused).filter((code) => !/^E(NOENT|AGAIN)$/.test(code)),
          [],
        )
      }
      await at.sees('mtty', ports(24, 12))
      await at.lists()
    },
  },
  {
    section: '3.7',
    title: 'of 16 that create at once against max_instances 2, two succeed',
    async play(at) {
      await at.has({ 'mprobe-b': mprobe(2).driver })
      const created = await at.createAtOnce(upTo(16).map((n) => ['mprobe-b/mprobe-one', n]))
      assert.deepEqual(created, { ok: 2, EUSERS: 14 })
      await at.sees('mprobe-b', probes(0))
    },
  },
  {
    section: '3.8',
    title: 'of 41 that create two ports each at once, 24 ports are for twelve',
    async play(at) {
      await at.has({ mtty: MTTY })
      const created = await at.createAtOnce(upTo(41).map((n) => ['mtty/mtty-2', n]))
      assert.deepEqual(created, { ok: 12, ENOSPC: 29 })
      await at.sees('mtty', ports(0, 0))
    },
  },
  {
    section: '3.9',
    title: 'those that create while the parent goes succeed, or are told why not; nothing is left',
    async play(at) {
      await at.has({ mtty: MTTY })
      const creations = at.createAtOnce(upTo(61).map((n) => ['mtty/mtty-1', n]))
      const end = at.unregisters('mtty')
      const all = await creations
      const { ok = 0, ENOSPC = 0, ENODEV = 0, ENOENT = 0, ECONNRESET = 0 } = all
      assert.equal(ok + ENOSPC + ENODEV + ENOENT + ECONNRESET, 61, JSON.stringify(all))
      await end
      await at.lists()
      await at.sees('mtty', undefined)
    },
  },
]
