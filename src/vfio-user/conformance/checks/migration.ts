/** Migration: the states of a device, and its state as a stream of bytes. A server may have none of it. */
import * as wire from '../../../abi/vfio-user.ts'
import * as vfio from '../../../abi/vfio.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  oneOf,
  refusal,
} from '../check.ts'
import { FEATURE_REFUSALS, isOffered, MIG_DEVICE_STATE, MIGRATION } from '../device-feature.ts'
import type { Frame, RawConnection } from '../raw-connection.ts'
import { feature, u32 } from '../requests.ts'
import { Skip, Violation } from '../violation.ts'

const {
  VFIO_USER_DEVICE_FEATURE: DEVICE_FEATURE,
  VFIO_USER_MIG_DATA_READ: MIG_DATA_READ,
  VFIO_USER_MIG_DATA_WRITE: MIG_DATA_WRITE,
} = wire
const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET } = vfio
const FIXED = 8
/** Flags of feature MIGRATION. */
const STOP_COPY_FLAG = 1
const PRE_COPY_FLAG = 4
const KNOWN_FLAGS = 7
/** What we said in VERSION. */
const OUR_TRANSFER = 1_048_576
const CHUNK = 65_536
/** A device with more state than this is not read to its end. */
const MOST_STATE = 256 * 2 ** 20

const STATES = { STOP: 1, RUNNING: 2, STOP_COPY: 3, RESUMING: 4, PRE_COPY: 6 } as const
type State = keyof typeof STATES

function setState(state: number): Buffer {
  return feature(MIG_DEVICE_STATE | SET, u32(state, 0))
}

async function state(connection: RawConnection): Promise<number> {
  const request = feature(MIG_DEVICE_STATE | GET, Buffer.alloc(8))
  const frame = await connection.request(DEVICE_FEATURE, request)
  expectSuccess(frame, 'GET of MIG_DEVICE_STATE', FIXED + 8)
  return frame.payload.readUInt32LE(FIXED)
}

async function go(connection: RawConnection, to: State): Promise<void> {
  expectSuccess(await connection.request(DEVICE_FEATURE, setState(STATES[to])), `SET to ${to}`)
  const reached = await state(connection)
  expect(reached === STATES[to], `after SET to ${to}: state ${STATES[to]}`, reached)
}

/** Attaches to a device that can migrate, and leaves it running. @throws Skip it cannot */
async function withMigration(
  context: Context,
  body: (connection: RawConnection, flags: number) => Promise<void>,
): Promise<void> {
  const connection = await context.attach()
  if (!(await isOffered(connection, MIGRATION | GET))) throw new Skip('it does not migrate')
  const request = feature(MIGRATION | GET, Buffer.alloc(8))
  const frame = await connection.request(DEVICE_FEATURE, request)
  expectSuccess(frame, 'GET of MIGRATION', FIXED + 8)
  try {
    await body(connection, frame.payload.readUInt32LE(FIXED))
  } finally {
    await connection.command(DEVICE_FEATURE, setState(STATES.RUNNING))
    await connection.nextOrEnd('an answer to SET to RUNNING')
  }
}

/** Reads the whole state of a device in STOP_COPY. */
async function readState(connection: RawConnection): Promise<Buffer[]> {
  const chunks: Buffer[] = []
  for (let length = 0; length < MOST_STATE;) {
    const frame = await connection.request(MIG_DATA_READ, u32(FIXED + CHUNK, CHUNK))
    expectSuccess(frame, 'MIG_DATA_READ')
    const size = frame.payload.length < FIXED ? 0 : frame.payload.readUInt32LE(4)
    const data = frame.payload.subarray(FIXED)
    const fits = data.length === size && size <= CHUNK
    expect(fits, `MIG_DATA_READ: at most ${CHUNK} bytes, as many as it says`, describe(frame))
    chunks.push(data)
    length += size
    if (size < CHUNK) return chunks
  }
  throw new Skip(`it has more than ${MOST_STATE} bytes of state`)
}

function describe({ payload }: Frame): string {
  const size = payload.length < FIXED ? 0 : payload.readUInt32LE(4)
  return `size ${size}, ${payload.length - FIXED} bytes`
}

/** Ways through the states; each step is direct or takes the shortest path (§14.2). */
const WALKS: readonly (readonly State[])[] = [
  ['STOP', 'RUNNING'],
  ['STOP', 'STOP_COPY', 'STOP', 'RESUMING', 'STOP', 'RUNNING'],
  ['STOP_COPY', 'RUNNING'],
  ['RESUMING', 'RUNNING'],
  ['STOP_COPY', 'RESUMING', 'STOP_COPY', 'RUNNING'],
]
const PRE_COPY_WALKS: readonly (readonly State[])[] = [
  ['PRE_COPY', 'RUNNING'],
  ['PRE_COPY', 'STOP_COPY', 'RUNNING'],
  ['STOP', 'PRE_COPY', 'STOP', 'RUNNING'],
  ['PRE_COPY', 'RESUMING', 'PRE_COPY', 'RUNNING'],
]

export const MIGRATION_CHECKS: readonly Check[] = [
  {
    id: 'migration.flags',
    rule: 'Feature MIGRATION has at least STOP_COPY, and no unknown flag.',
    reference: '§14.1, §14.2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      if (!(await isOffered(connection, MIGRATION | GET))) throw new Skip('it does not migrate')
      const request = feature(MIGRATION | GET, Buffer.alloc(8))
      const frame = await connection.request(DEVICE_FEATURE, request)
      expectSuccess(frame, 'GET of MIGRATION', FIXED + 8)
      const flags = frame.payload.readBigUInt64LE(FIXED)
      const right = (flags & BigInt(STOP_COPY_FLAG)) !== 0n && flags <= BigInt(KNOWN_FLAGS)
      expect(right, 'flags 1, 3, 5 or 7', `flags ${flags}`)
    },
  },
  {
    id: 'migration.running',
    rule: 'A device whose client does not migrate it is RUNNING.',
    reference: '§14.2',
    destructive: false,
    async run(context) {
      const connection = await context.attach()
      if (!(await isOffered(connection, MIG_DEVICE_STATE | GET)))
        throw new Skip('it does not migrate')
      const now = await state(connection)
      expect(now === STATES.RUNNING, `state ${STATES.RUNNING}`, now)
    },
  },
  {
    id: 'migration.states',
    rule: 'The device goes from each state to each other that can be reached, by the shortest path.',
    reference: '§14.2',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection, flags) => {
        const walks = (flags & PRE_COPY_FLAG) === 0 ? WALKS : [...WALKS, ...PRE_COPY_WALKS]
        for (const walk of walks) for (const to of walk) await go(connection, to)
      })
    },
  },
  {
    id: 'migration.same-state',
    rule: 'Setting the state that the device has already succeeds.',
    reference: '§14.2',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        for (const to of ['RUNNING', 'STOP', 'STOP', 'STOP_COPY', 'STOP_COPY'] as const) {
          await go(connection, to)
        }
      })
    },
  },
  {
    id: 'migration.bad-states',
    rule: 'ERROR, the P2P states and unknown ones cannot be set: EINVAL, and the state stays.',
    reference: '§14.2, §19',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        for (const bad of [0, 5, 7, 8, 0xffff_ffff]) {
          const frame = await connection.request(DEVICE_FEATURE, setState(bad))
          expectRefused(frame, `SET to state ${bad}`)
          const now = await state(connection)
          expect(now === STATES.RUNNING, `after SET to ${bad}: state ${STATES.RUNNING}`, now)
        }
      })
    },
  },
  {
    id: 'migration.no-way',
    rule: 'There is no way from STOP_COPY to PRE_COPY: EINVAL, and the state stays.',
    reference: '§14.2',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        await go(connection, 'STOP_COPY')
        const frame = await connection.request(DEVICE_FEATURE, setState(STATES.PRE_COPY))
        expectRefused(frame, 'SET from STOP_COPY to PRE_COPY')
        const now = await state(connection)
        expect(now === STATES.STOP_COPY, `state ${STATES.STOP_COPY}`, now)
      })
    },
  },
  {
    id: 'migration.reset-stopped',
    rule: 'DEVICE_RESET in STOP and in STOP_COPY is refused with EINVAL.',
    reference: '§13, §19',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        for (const to of ['STOP', 'STOP_COPY'] as const) {
          await go(connection, to)
          expectRefused(await connection.request(wire.VFIO_USER_DEVICE_RESET), `a reset in ${to}`)
        }
      })
    },
  },
  refusal({
    id: 'migration.data-running',
    rule: `MIG_DATA_READ of a running device is refused with ${oneOf(FEATURE_REFUSALS)}.`,
    reference: '§14.3, §19',
    command: MIG_DATA_READ,
    errnos: FEATURE_REFUSALS,
    requests: () => [
      ['a read of 4096 bytes', u32(FIXED + 4096, 4096)],
      ['4 bytes of payload', u32(FIXED)],
    ],
  }),
  refusal({
    id: 'migration.write-running',
    rule: `MIG_DATA_WRITE to a running device is refused with ${oneOf(FEATURE_REFUSALS)}.`,
    reference: '§14.3, §19',
    command: MIG_DATA_WRITE,
    errnos: FEATURE_REFUSALS,
    requests: () => [
      ['4 bytes', u32(FIXED + 4, 4, 0)],
      ['4 bytes of payload', u32(FIXED)],
    ],
  }),
  {
    id: 'migration.read-limits',
    rule: 'MIG_DATA_READ of more than max_data_xfer_size of the client, or than argsz has room for, is refused with EINVAL.',
    reference: '§14.3, §19',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        await go(connection, 'STOP_COPY')
        for (const [what, payload] of [
          ['more than we take', u32(FIXED + OUR_TRANSFER + 1, OUR_TRANSFER + 1)],
          ['4 GiB', u32(0xffff_ffff, 0xffff_ffff)],
          ['more than argsz', u32(FIXED + 15, 16)],
          ['argsz 0', u32(0, 16)],
        ] as const) {
          expectRefused(await connection.request(MIG_DATA_READ, payload), what)
        }
      })
    },
  },
  {
    id: 'migration.write-length',
    rule: 'MIG_DATA_WRITE whose payload is not 8 bytes and its size is refused with EINVAL.',
    reference: '§14.3, §19',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        await go(connection, 'STOP_COPY')
        const saved = await readState(connection)
        await go(connection, 'RESUMING')
        for (const [what, payload] of [
          ['8 bytes of which 4 are there', u32(FIXED + 8, 8, 0)],
          ['0 bytes and 4 there', u32(FIXED, 0, 0)],
          ['4 GiB', u32(0xffff_ffff, 0xffff_ffff)],
        ] as const) {
          expectRefused(await connection.request(MIG_DATA_WRITE, payload), what)
        }
        await writeState(connection, saved)
        await go(connection, 'RUNNING')
      })
    },
  },
  {
    id: 'migration.round-trip',
    rule: 'What MIG_DATA_READ gives in STOP_COPY, to a read that gets less than it asks for, MIG_DATA_WRITE takes in RESUMING, with the header alone as its answer.',
    reference: '§14.3',
    destructive: true,
    async run(context) {
      await withMigration(context, async (connection) => {
        await go(connection, 'STOP_COPY')
        const saved = await readState(connection)
        await go(connection, 'RESUMING')
        await writeState(connection, saved)
        await go(connection, 'RUNNING')
        await connection.expectAlive('a round trip of its state')
      })
    },
  },
]

async function writeState(connection: RawConnection, chunks: readonly Buffer[]): Promise<void> {
  for (const data of chunks) {
    if (data.length === 0) continue
    const request = Buffer.concat([u32(FIXED + data.length, data.length), data])
    const frame = await connection.request(MIG_DATA_WRITE, request)
    expectSuccess(frame, 'MIG_DATA_WRITE')
    if (frame.payload.length > 0)
      throw new Violation('MIG_DATA_WRITE: the header alone', `${frame.payload.length} bytes more`)
  }
}
