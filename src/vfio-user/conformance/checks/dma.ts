/** DMA_MAP and DMA_UNMAP. */
import * as wire from '../../../abi/vfio-user.ts'
import type { ErrnoCode } from '../../../lib/errno.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  expectSuccessOr,
  refusal,
} from '../check.ts'
import { memory, readOnly } from '../files.ts'
import { bytesUnmapped, type Frame, isError, type RawConnection } from '../raw-connection.ts'
import { type DmaFields, dmaMap, dmaUnmap, IOVA, message, PAGE, u64 } from '../requests.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DMA_MAP: DMA_MAP, VFIO_USER_DMA_UNMAP: DMA_UNMAP } = wire
const {
  VFIO_USER_F_DMA_REGION_READ: READ,
  VFIO_USER_F_DMA_REGION_WRITE: WRITE,
  VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP: BITMAP,
  VFIO_USER_F_DMA_UNMAP_ALL: ALL,
} = wire
/** Ways to use the fd, of development trees (§6.1). */
const MODE_MMAP = 4
const MODE_FILE_IO = 8
const RESERVED = 0x10
const PAGES = 8
/** Filling a larger table takes too long. */
const MOST_MAPS_TRIED = 4096
/** Page-aligned, and one page below the end of 64 bits. */
const LAST_PAGE = 0xffff_ffff_ffff_f000n

async function map(
  connection: RawConnection,
  what: string,
  fields: DmaFields,
  fds: readonly number[] = [],
): Promise<void> {
  const frame = await connection.request(DMA_MAP, dmaMap(fields), { fds })
  expectSuccess(frame, `DMA_MAP of ${what}`)
}

async function unmap(connection: RawConnection, what: string, fields: DmaFields): Promise<void> {
  const frame = await connection.request(DMA_UNMAP, dmaUnmap(fields))
  expectSuccess(frame, `DMA_UNMAP of ${what}`)
}

/** The unmap finds nothing: it is refused, or says that no byte has gone. */
async function expectNoMap(
  connection: RawConnection,
  what: string,
  fields: DmaFields,
): Promise<void> {
  const frame = await connection.request(DMA_UNMAP, dmaUnmap(fields))
  expectRefusedOrGone(frame, what, 0n, ['ENOENT'])
}

/** @param gone bytes that a success has to tell */
function expectRefusedOrGone(
  frame: Frame,
  what: string,
  gone: bigint,
  errnos: readonly ErrnoCode[],
): void {
  expectSuccessOr(frame, `DMA_UNMAP of ${what}`, errnos)
  const told = bytesUnmapped(frame) ?? gone
  expect(told === gone, `DMA_UNMAP of ${what}: ${gone} bytes have gone`, String(told))
}

/** Maps of memory with an fd that are refused; the memory has 8 pages. */
function refusedFile(
  id: string,
  rule: string,
  errnos: readonly ErrnoCode[],
  cases: readonly (readonly [what: string, fields: DmaFields])[],
): Check {
  return {
    id,
    rule,
    reference: '§6.1, §19',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGES * PAGE)
      const connection = await context.attach()
      for (const [what, fields] of cases) {
        const frame = await connection.request(DMA_MAP, dmaMap(fields), { fds: [fd] })
        expectRefused(frame, what, errnos)
        await connection.expectAlive(what)
      }
    },
  }
}

/** Maps 8 pages with gaps between them, and two pages in one map behind. */
async function withMaps(context: Context): Promise<RawConnection> {
  const fd = memory(context, PAGES * PAGE)
  const connection = await context.attach()
  await map(connection, '4 pages', { iova: IOVA, size: 4 * PAGE }, [fd])
  return connection
}

export const DMA_CHECKS: readonly Check[] = [
  {
    id: 'dma.map-reply',
    rule: 'DMA_MAP is answered with the header alone, with an fd and without.',
    reference: '§4.1, §6.1',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGE)
      const connection = await context.attach()
      const withFd = await connection.request(DMA_MAP, dmaMap(), { fds: [fd] })
      expectSuccess(withFd, 'DMA_MAP with an fd', 0)
      const without = await connection.request(DMA_MAP, dmaMap({ iova: IOVA + PAGE }))
      expectSuccess(without, 'DMA_MAP without an fd', 0)
    },
  },
  {
    id: 'dma.map-rights',
    rule: 'Memory may be mapped to be read, to be written, both, or neither (a reserved range).',
    reference: '§6.1',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGES * PAGE)
      const connection = await context.attach()
      for (const flags of [READ, WRITE, READ | WRITE, 0]) {
        const iova = IOVA + 2 * flags * PAGE
        await map(connection, `flags ${flags}, with an fd`, { flags, iova }, [fd])
        await map(connection, `flags ${flags}, without`, { flags, iova: iova + PAGE })
      }
      const viewOnly = readOnly(context, fd)
      await map(connection, 'a file opened for reading, to be read', { flags: READ, iova: 0 }, [
        viewOnly,
      ])
    },
  },
  {
    id: 'dma.map-offsets',
    rule: 'Several parts of one file may be mapped, in any order, also the same part at several addresses.',
    reference: '§6.1, §6.3',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGES * PAGE)
      const connection = await context.attach()
      for (const [i, page] of [5, 0, 7, 2, 2].entries()) {
        const fields = { offset: page * PAGE, iova: IOVA + i * PAGE }
        await map(connection, `page ${page} of a file`, fields, [fd])
      }
    },
  },
  {
    id: 'dma.map-high',
    rule: 'Addresses up to 2^47 can be mapped, as SPDK does it.',
    reference: '§17.2',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGE)
      const connection = await context.attach()
      for (const iova of [0, 0xffff_f000, 2 ** 32, 2 ** 47 - PAGE]) {
        await map(connection, `a page at 0x${iova.toString(16)}`, { iova }, [fd])
        await unmap(connection, `a page at 0x${iova.toString(16)}`, { iova })
      }
    },
  },
  {
    id: 'dma.map-larger-argsz',
    rule: 'An argsz larger than 32 is accepted.',
    reference: '§4',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      await map(connection, 'a page, with argsz 64', { argsz: 64 })
    },
  },
  {
    id: 'dma.map-same',
    rule: 'The same map again succeeds and changes nothing, or is refused with EEXIST.',
    reference: '§6.1',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGE)
      const connection = await context.attach()
      await map(connection, 'a page', {}, [fd])
      const frame = await connection.request(DMA_MAP, dmaMap(), { fds: [fd] })
      expectSuccessOr(frame, 'the same map again', ['EEXIST'])
      await unmap(connection, 'the page', {})
      await expectNoMap(connection, 'the page, a second time', {})
    },
  },
  {
    id: 'dma.map-overlap',
    rule: 'A map that overlaps another is refused with EEXIST or EINVAL, and the other stays.',
    reference: '§6.1, §19',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGES * PAGE)
      const connection = await context.attach()
      const first = { iova: IOVA, size: 4 * PAGE }
      await map(connection, '4 pages', first, [fd])
      for (const [what, fields] of [
        ['its first page', { iova: IOVA, size: PAGE }],
        ['a page in its middle', { iova: IOVA + PAGE, size: PAGE }],
        ['its last page and the next', { iova: IOVA + 3 * PAGE, size: 2 * PAGE }],
        ['its first page and the one before', { iova: IOVA - PAGE, size: 2 * PAGE }],
        ['all of it and more', { iova: IOVA - PAGE, size: 6 * PAGE }],
        ['the same range with other rights', { ...first, flags: READ }],
        ['the same range of another part of the file', { ...first, offset: PAGE }],
      ] as const) {
        const frame = await connection.request(DMA_MAP, dmaMap(fields), { fds: [fd] })
        expectRefused(frame, `a map of ${what}`, ['EEXIST', 'EINVAL'])
      }
      await unmap(connection, 'the 4 pages', first)
    },
  },
  {
    id: 'dma.map-neighbours',
    rule: 'Maps that touch but do not overlap are accepted.',
    reference: '§6.1',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      for (const page of [1, 0, 2]) {
        await map(connection, `page ${page} of 3`, { iova: IOVA + page * PAGE })
      }
    },
  },
  {
    id: 'dma.pipeline',
    rule: 'Maps and unmaps that are sent without waiting are all answered, in order.',
    reference: '§2, §6.3',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const pages = Array.from({ length: 100 }, (_, i) => ({ iova: IOVA + i * PAGE }))
      const rounds = [
        ...pages.map((page) => [DMA_MAP, dmaMap(page)] as const),
        ...pages.map((page) => [DMA_UNMAP, dmaUnmap(page)] as const),
      ]
      const bytes = rounds.map(([command, payload], id) => message(command, payload, { id }))
      await connection.send(Buffer.concat(bytes))
      for (const [id, [command]] of rounds.entries()) {
        const what = `answer ${id + 1} of ${rounds.length}`
        const frame = await connection.next(what)
        expectSuccess(frame, what)
        expect(frame.command === command, `${what} to be of command ${command}`, frame.command)
        expect(frame.id === id, `${what} to have id ${id}`, frame.id)
      }
    },
  },
  {
    id: 'dma.map-most',
    rule: 'One map more than max_dma_maps is refused with ENOSPC.',
    reference: '§5, §6.1, §19',
    destructive: true,
    async run(context) {
      const { max_dma_maps: most = 65_535 } = context.survey.capabilities
      if (typeof most !== 'number' || most > MOST_MAPS_TRIED)
        throw new Skip(`${String(most)} maps are too many to try`)
      const connection = await context.attach()
      for (let i = 0; i < most; i++) {
        await map(connection, `map ${i + 1} of ${most}`, { iova: IOVA + i * PAGE })
      }
      const frame = await connection.request(DMA_MAP, dmaMap({ iova: IOVA + most * PAGE }))
      expectRefused(frame, `map ${most + 1} of ${most}`, ['ENOSPC'])
    },
  },
  refusal({
    id: 'dma.map-length',
    rule: 'A DMA_MAP whose payload is not 32 bytes is refused with EINVAL.',
    reference: '§6.1, §19',
    command: DMA_MAP,
    destructive: true,
    requests: () => [
      ...[0, 8, 31].map((length) => [`${length} bytes`, dmaMap().subarray(0, length)] as const),
      ['40 bytes', Buffer.concat([dmaMap(), u64(0)])],
    ],
  }),
  refusal({
    id: 'dma.map-small-argsz',
    rule: 'A DMA_MAP with an argsz below 32 is refused with EINVAL.',
    reference: '§4, §6.1, §19',
    command: DMA_MAP,
    destructive: true,
    requests: () => [0, 16, 31].map((argsz) => [`argsz ${argsz}`, dmaMap({ argsz })]),
  }),
  refusal({
    id: 'dma.map-flags',
    rule: 'Reserved flags, a mode without an fd, and both modes together are refused with EINVAL.',
    reference: '§6.1, §19',
    command: DMA_MAP,
    destructive: true,
    requests: () =>
      [
        3 | RESERVED,
        RESERVED,
        0x8000_0000,
        0xffff_ffff,
        3 | MODE_MMAP,
        3 | MODE_FILE_IO,
        3 | MODE_MMAP | MODE_FILE_IO,
      ].map((flags) => [`flags 0x${(flags >>> 0).toString(16)}`, dmaMap({ flags: flags >>> 0 })]),
  }),
  refusal({
    id: 'dma.map-pages',
    rule: 'A size of 0, and an address or a size that is not whole pages, are refused with EINVAL.',
    reference: '§6.1, §19',
    command: DMA_MAP,
    destructive: true,
    requests: () => [
      ['size 0', dmaMap({ size: 0 })],
      ['size 1', dmaMap({ size: 1 })],
      ['size 4095', dmaMap({ size: PAGE - 1 })],
      ['size 6144', dmaMap({ size: PAGE + 2048 })],
      ['address 1', dmaMap({ iova: 1 })],
      ['address 0x100800', dmaMap({ iova: IOVA + 2048 })],
    ],
  }),
  refusal({
    id: 'dma.map-wrapping',
    rule: 'A map whose end wraps around 2^64 is refused with EINVAL.',
    reference: '§6.1, §19',
    command: DMA_MAP,
    destructive: true,
    requests: () => [
      ['2 pages at the last page', dmaMap({ iova: LAST_PAGE, size: 2 * PAGE })],
      ['2^64 - 4096 bytes at 1 MiB', dmaMap({ size: LAST_PAGE })],
    ],
  }),
  refusedFile(
    'dma.map-file-end',
    'A range that ends beyond its file is refused with EINVAL.',
    ['EINVAL'],
    [
      ['9 pages of a file of 8', { size: 9 * PAGE }],
      ['a page at the end of the file', { offset: PAGES * PAGE }],
      ['2 pages at the last page of the file', { offset: (PAGES - 1) * PAGE, size: 2 * PAGE }],
      ['a page far beyond the end', { offset: 2 ** 40 }],
      ['an offset with which the end wraps', { offset: LAST_PAGE, size: 2 * PAGE }],
    ],
  ),
  refusedFile(
    'dma.map-file-offset',
    'An offset into the file that is not whole pages is refused with EINVAL.',
    ['EINVAL'],
    [
      ['offset 1', { offset: 1 }],
      ['offset 2048', { offset: 2048 }],
    ],
  ),
  {
    id: 'dma.map-read-only-file',
    rule: 'A file opened for reading cannot be mapped to be written: EACCES, EPERM or EINVAL.',
    reference: '§6.1, §19',
    destructive: true,
    async run(context) {
      const fd = readOnly(context, memory(context, PAGE))
      const connection = await context.attach()
      const frame = await connection.request(DMA_MAP, dmaMap(), { fds: [fd] })
      expectRefused(frame, 'a map to be written', ['EACCES', 'EPERM', 'EINVAL'])
      await connection.expectAlive('a map to be written')
    },
  },
  {
    id: 'dma.unmap-reply',
    rule: 'DMA_UNMAP is answered with the 24 bytes of its request.',
    reference: '§4.1, §6.2',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      await map(connection, 'a page', {})
      const request = dmaUnmap()
      const frame = await connection.request(DMA_UNMAP, request)
      expectSuccess(frame, 'DMA_UNMAP', 24)
      const echo = frame.payload.toString('hex')
      expect(echo === request.toString('hex'), request.toString('hex'), echo)
    },
  },
  {
    id: 'dma.unmap-again',
    rule: 'What was unmapped can be mapped again; to unmap it again is ENOENT, or a success that says that 0 bytes have gone.',
    reference: '§6.2',
    destructive: true,
    async run(context) {
      const fd = memory(context, PAGE)
      const connection = await context.attach()
      for (let i = 0; i < 3; i++) {
        await map(connection, `a page, time ${i + 1}`, {}, [fd])
        await unmap(connection, 'the page', {})
        await expectNoMap(connection, 'the page, a second time', {})
      }
    },
  },
  {
    id: 'dma.unmap-part',
    rule: 'An unmap of a part of a map is refused with ENOENT or EINVAL, and the map stays.',
    reference: '§6.2, §19',
    destructive: true,
    async run(context) {
      const connection = await withMaps(context)
      for (const [what, iova] of [
        ['a part of it', IOVA],
        ['its end', IOVA + 3 * PAGE],
      ] as const) {
        const frame = await connection.request(DMA_UNMAP, dmaUnmap({ iova, size: PAGE }))
        expectRefused(frame, `DMA_UNMAP of ${what}`, ['ENOENT', 'EINVAL'])
      }
      await unmap(connection, 'the 4 pages', { iova: IOVA, size: 4 * PAGE })
    },
  },
  {
    id: 'dma.unmap-more',
    rule: 'An unmap of more than a map takes it away and says how many bytes have gone, or is ENOENT and the map stays.',
    reference: '§6.2, §6.3',
    destructive: true,
    async run(context) {
      const connection = await withMaps(context)
      await expectNoMap(connection, 'another range', { iova: IOVA + 64 * PAGE, size: 4 * PAGE })
      const more = { iova: IOVA, size: 5 * PAGE }
      const frame = await connection.request(DMA_UNMAP, dmaUnmap(more))
      expectRefusedOrGone(frame, 'a page more', BigInt(4 * PAGE), ['ENOENT'])
      const whole = { iova: IOVA, size: 4 * PAGE }
      if (isError(frame)) await unmap(connection, 'the 4 pages', whole)
      else await expectNoMap(connection, 'the 4 pages, which have gone', whole)
    },
  },
  {
    id: 'dma.unmap-all',
    rule: 'The flag ALL takes every map away, or is refused with EINVAL and takes none.',
    reference: '§6.2',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const pages = [0, 1, 5].map((page) => ({ iova: IOVA + page * PAGE }))
      for (const fields of pages) await map(connection, 'a page', fields)
      const request = dmaUnmap({ flags: ALL, iova: 0, size: 0 })
      const frame = await connection.request(DMA_UNMAP, request)
      expectSuccessOr(frame, 'DMA_UNMAP of all')
      for (const fields of pages) {
        if (isError(frame)) await unmap(connection, 'a page', fields)
        else await expectNoMap(connection, 'a page, after all of them', fields)
      }
      await map(connection, 'a page, after all were unmapped', {})
    },
  },
  {
    id: 'dma.unmap-all-nothing',
    rule: 'The flag ALL succeeds when nothing is mapped, or is refused with EINVAL.',
    reference: '§6.2',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      const request = dmaUnmap({ flags: ALL, iova: 0, size: 0 })
      expectSuccessOr(await connection.request(DMA_UNMAP, request), 'DMA_UNMAP of all')
      await connection.expectAlive('DMA_UNMAP of all')
    },
  },
  refusal({
    id: 'dma.unmap-short',
    rule: 'A DMA_UNMAP with a payload of less than 24 bytes is refused with EINVAL.',
    reference: '§6.2, §19',
    command: DMA_UNMAP,
    requests: () => [0, 8, 23].map((length) => [`${length} bytes`, dmaUnmap().subarray(0, length)]),
  }),
  {
    id: 'dma.unmap-small-argsz',
    rule: 'A DMA_UNMAP with an argsz below 24 is refused with EINVAL, and the map stays.',
    reference: '§4, §6.2, §19',
    destructive: true,
    async run(context) {
      const connection = await withMaps(context)
      const range = { iova: IOVA, size: 4 * PAGE }
      for (const argsz of [0, 16, 23]) {
        const frame = await connection.request(DMA_UNMAP, dmaUnmap({ ...range, argsz }))
        expectRefused(frame, `argsz ${argsz}`)
      }
      await unmap(connection, 'the 4 pages', range)
    },
  },
  {
    id: 'dma.unmap-flags',
    rule: 'Unknown flags, ALL with an address or a size, and ALL with a bitmap are refused with EINVAL, and the map stays.',
    reference: '§6.2, §19',
    destructive: true,
    async run(context) {
      const connection = await withMaps(context)
      const range = { iova: IOVA, size: 4 * PAGE }
      for (const [what, payload] of [
        ['flag 4', dmaUnmap({ ...range, flags: 4 })],
        ['flag 0x80000000', dmaUnmap({ ...range, flags: 0x8000_0000 })],
        ['ALL with a range', dmaUnmap({ ...range, flags: ALL })],
        ['ALL with an address', dmaUnmap({ iova: IOVA, size: 0, flags: ALL })],
        ['ALL with a size', dmaUnmap({ iova: 0, size: PAGE, flags: ALL })],
        [
          'ALL with a bitmap',
          Buffer.concat([
            dmaUnmap({ argsz: 48, iova: 0, size: 0, flags: ALL | BITMAP }),
            u64(PAGE, 8),
          ]),
        ],
      ] as const) {
        expectRefused(await connection.request(DMA_UNMAP, payload), what)
      }
      await unmap(connection, 'the 4 pages', range)
    },
  },
  {
    id: 'dma.unmap-bitmap',
    rule: 'A dirty bitmap is refused with EINVAL while nothing is logged, and the map stays.',
    reference: '§6.2, §19',
    destructive: true,
    async run(context) {
      const connection = await withMaps(context)
      const range = { iova: IOVA, size: 4 * PAGE }
      for (const [what, payload] of [
        [
          'a bitmap of 4 pages',
          Buffer.concat([dmaUnmap({ ...range, argsz: 48, flags: BITMAP }), u64(PAGE, 8)]),
        ],
        ['a bitmap without its 16 bytes', dmaUnmap({ ...range, argsz: 48, flags: BITMAP })],
        [
          'a page size of 3',
          Buffer.concat([dmaUnmap({ ...range, argsz: 48, flags: BITMAP }), u64(3, 8)]),
        ],
      ] as const) {
        expectRefused(await connection.request(DMA_UNMAP, payload), what)
      }
      await unmap(connection, 'the 4 pages', range)
    },
  },
]
