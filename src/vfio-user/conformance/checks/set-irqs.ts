/** DEVICE_SET_IRQS. Interrupts are made by the loopback test that the command has: NONE or BOOL with TRIGGER. */
import * as wire from '../../../abi/vfio-user.ts'
import * as vfio from '../../../abi/vfio.ts'
import type { EventFd } from '../../../os/eventfd.ts'
import {
  type Check,
  type Context,
  expect,
  expectRefused,
  expectSuccess,
  expectSuccessOr,
  refusal,
} from '../check.ts'
import { eventfd, isSignalled } from '../files.ts'
import type { RawConnection } from '../raw-connection.ts'
import { type IrqFields, irqSet } from '../requests.ts'
import { maxFds, type Survey, type SurveyedIrq } from '../survey.ts'
import { Skip } from '../violation.ts'

const { VFIO_USER_DEVICE_SET_IRQS: SET_IRQS } = wire
const NONE = vfio.VFIO_IRQ_SET_DATA_NONE
const BOOL = vfio.VFIO_IRQ_SET_DATA_BOOL
const EVENTFD = vfio.VFIO_IRQ_SET_DATA_EVENTFD
const MASK = vfio.VFIO_IRQ_SET_ACTION_MASK
const UNMASK = vfio.VFIO_IRQ_SET_ACTION_UNMASK
const TRIGGER = vfio.VFIO_IRQ_SET_ACTION_TRIGGER
/** What Cloud Hypervisor sends in one message, whatever the server says. */
const CLOUD_HYPERVISOR_FDS = 16

async function set(
  connection: RawConnection,
  what: string,
  fields: IrqFields,
  eventfds: readonly EventFd[] = [],
): Promise<void> {
  const fds = eventfds.map(({ fd }) => fd)
  expectSuccess(await connection.request(SET_IRQS, irqSet(fields), { fds }), what)
}

/** Indexes to which eventfds can be given. @throws Skip there is none */
function assignable({ irqs }: Survey): readonly SurveyedIrq[] {
  const found = irqs.filter(
    ({ flags, count }) => count > 0 && (flags & vfio.VFIO_IRQ_INFO_EVENTFD) !== 0,
  )
  if (found.length === 0) throw new Skip('it has no interrupts')
  return found
}

/** @throws Skip there is none of `count` vectors */
function largest(survey: Survey, count: number): SurveyedIrq {
  const irq = assignable(survey).reduce((best, each) => (each.count > best.count ? each : best))
  if (irq.count < count) throw new Skip(`no irq index has ${count} vectors`)
  return irq
}

function firstOf(survey: Survey): SurveyedIrq {
  return largest(survey, 1)
}

/** Fires `vector` and looks who is told. */
async function fire(
  connection: RawConnection,
  { index }: SurveyedIrq,
  vector: number,
): Promise<void> {
  const fields = { flags: NONE | TRIGGER, index, start: vector, count: 1 }
  await set(connection, `the loopback test of irq ${index}, vector ${vector}`, fields)
}

async function fireAndExpect(
  context: Context,
  connection: RawConnection,
  irq: SurveyedIrq,
  vector: number,
  told: EventFd,
): Promise<void> {
  told.drain()
  await fire(connection, irq, vector)
  const what = `irq ${irq.index}, vector ${vector}: its eventfd is signalled`
  expect(await isSignalled(context, told), what, 'silence')
  await rearm(connection, irq, vector)
}

async function fireAndExpectSilence(
  connection: RawConnection,
  irq: SurveyedIrq,
  vector: number,
  untold: EventFd,
  why: string,
): Promise<void> {
  untold.drain()
  await connection.request(
    SET_IRQS,
    irqSet({ flags: NONE | TRIGGER, index: irq.index, start: vector, count: 1 }),
  )
  expect(!untold.drain(), `irq ${irq.index}, vector ${vector}: silence ${why}`, 'a signal')
  await rearm(connection, irq, vector)
}

/** An interrupt that masks itself is unmasked, as clients do after each one. */
async function rearm(connection: RawConnection, irq: SurveyedIrq, vector: number): Promise<void> {
  if ((irq.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED) === 0) return
  const fields = { flags: NONE | UNMASK, index: irq.index, start: vector, count: 1 }
  await set(connection, `UNMASK of irq ${irq.index}, vector ${vector}`, fields)
}

function assign(irq: SurveyedIrq, start: number, count: number): IrqFields {
  return { flags: EVENTFD | TRIGGER, index: irq.index, start, count }
}

function eventfds(context: Context, count: number): EventFd[] {
  return Array.from({ length: count }, () => eventfd(context))
}

/** Sends requests that are wrong, with the given number of eventfds each. */
async function expectRefusals(
  context: Context,
  requests: (irq: SurveyedIrq) => readonly (readonly [string, Uint8Array, number?])[],
): Promise<void> {
  const irq = firstOf(context.survey)
  const connection = await context.attach()
  for (const [what, payload, count = 0] of requests(irq)) {
    const fds = eventfds(context, count).map(({ fd }) => fd)
    expectRefused(await connection.request(SET_IRQS, payload, { fds }), what)
    await connection.expectAlive(what)
  }
}

export const SET_IRQS_CHECKS: readonly Check[] = [
  {
    id: 'set-irqs.reply',
    rule: 'DEVICE_SET_IRQS is answered with the header alone.',
    reference: '§4.1, §10.2',
    destructive: true,
    async run(context) {
      const irq = firstOf(context.survey)
      const connection = await context.attach()
      const fds = eventfds(context, 1).map(({ fd }) => fd)
      const frame = await connection.request(SET_IRQS, irqSet(assign(irq, 0, 1)), { fds })
      expectSuccess(frame, 'DEVICE_SET_IRQS', 0)
    },
  },
  {
    id: 'set-irqs.trigger',
    rule: 'An eventfd that is assigned to a vector is signalled when that vector fires (loopback test: NONE and TRIGGER).',
    reference: '§10.2',
    destructive: true,
    async run(context) {
      for (const irq of assignable(context.survey)) {
        const connection = await context.attach()
        const told = eventfd(context)
        await set(connection, `an eventfd for irq ${irq.index}`, assign(irq, 0, 1), [told])
        for (let i = 0; i < 2; i++) await fireAndExpect(context, connection, irq, 0, told)
        await connection.finish()
      }
    },
  },
  {
    id: 'set-irqs.trigger-bool',
    rule: 'BOOL and TRIGGER fires the vectors whose byte is not 0, and no other.',
    reference: '§10.2',
    destructive: true,
    async run(context) {
      const irq = largest(context.survey, 1)
      const count = Math.min(irq.count, 3)
      const connection = await context.attach()
      const told = eventfds(context, count)
      for (const [vector, each] of told.entries()) {
        await set(connection, 'an eventfd', assign(irq, vector, 1), [each])
      }
      for (const data of [
        [0, 1, 0],
        [1, 0, 0xff],
        [0, 0, 0],
      ].map((all) => all.slice(0, count))) {
        const fields = { flags: BOOL | TRIGGER, index: irq.index, count, data }
        await set(connection, `BOOL ${data.join(' ')}`, fields)
        for (const [vector, each] of told.entries()) {
          const fires = data[vector] !== 0
          const what = `BOOL ${data.join(' ')}: vector ${vector} ${fires ? 'fires' : 'is silent'}`
          const signalled = fires ? await isSignalled(context, each) : each.drain()
          expect(signalled === fires, what, signalled ? 'a signal' : 'silence')
          await rearm(connection, irq, vector)
        }
      }
    },
  },
  {
    id: 'set-irqs.replace',
    rule: 'An eventfd that is assigned takes the place of the one before.',
    reference: '§10.2',
    destructive: true,
    async run(context) {
      const irq = firstOf(context.survey)
      const connection = await context.attach()
      const [old, told] = [eventfd(context), eventfd(context)]
      await set(connection, 'an eventfd', assign(irq, 0, 1), [old])
      await set(connection, 'another eventfd', assign(irq, 0, 1), [told])
      await fireAndExpect(context, connection, irq, 0, told)
      expect(!old.drain(), 'the eventfd before to be silent', 'a signal')
    },
  },
  {
    id: 'set-irqs.deassign',
    rule: 'EVENTFD with a count and no fds takes the eventfds of these vectors away.',
    reference: '§10.2, §18',
    destructive: true,
    async run(context) {
      const irq = firstOf(context.survey)
      const connection = await context.attach()
      const told = eventfd(context)
      await set(connection, 'an eventfd', assign(irq, 0, 1), [told])
      await set(connection, 'EVENTFD without fds', assign(irq, 0, 1))
      await fireAndExpectSilence(connection, irq, 0, told, 'after its eventfd was taken away')
    },
  },
  {
    id: 'set-irqs.deassign-nothing',
    rule: 'EVENTFD with a count and no fds succeeds, even when nothing was assigned.',
    reference: '§10.2, §18',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      for (const irq of assignable(context.survey)) {
        const what = `irq ${irq.index}, which has no eventfds: EVENTFD without fds`
        await set(connection, what, assign(irq, 0, 1))
        await set(connection, what, assign(irq, 0, irq.count))
      }
    },
  },
  {
    id: 'set-irqs.disable',
    rule: 'NONE, TRIGGER and count 0 takes all eventfds of an index away.',
    reference: '§10.2, §18',
    destructive: true,
    async run(context) {
      const irq = firstOf(context.survey)
      const connection = await context.attach()
      const told = eventfd(context)
      await set(connection, 'an eventfd', assign(irq, 0, 1), [told])
      await set(connection, 'disabling it', { flags: NONE | TRIGGER, index: irq.index })
      await fireAndExpectSilence(connection, irq, 0, told, 'after the index was disabled')
      await set(connection, 'the eventfd again', assign(irq, 0, 1), [told])
      await fireAndExpect(context, connection, irq, 0, told)
    },
  },
  {
    id: 'set-irqs.disable-nothing',
    rule: 'An index that was never enabled can be disabled; one without vectors, too, or EINVAL.',
    reference: '§10.2, §18, §19',
    destructive: true,
    async run(context) {
      const connection = await context.attach()
      for (const { index, count } of context.survey.irqs) {
        const request = irqSet({ flags: NONE | TRIGGER, index })
        const frame = await connection.request(SET_IRQS, request)
        const what = `disabling irq ${index}, of ${count} vectors`
        if (count > 0) expectSuccess(frame, what)
        else expectSuccessOr(frame, what)
      }
    },
  },
  {
    id: 'set-irqs.chunks',
    rule: 'More vectors than fds fit into a message are assigned in several messages, and all of them fire.',
    reference: '§10.2',
    destructive: true,
    async run(context) {
      const irq = largest(context.survey, 2)
      const step = Math.max(1, Math.min(maxFds(context.survey), irq.count - 1))
      const count = Math.min(irq.count, 2 * step + 1)
      const connection = await context.attach()
      const told = eventfds(context, count)
      for (let start = 0; start < count; start += step) {
        const part = told.slice(start, start + step)
        await set(connection, `vectors from ${start} on`, assign(irq, start, part.length), part)
      }
      for (const [vector, each] of told.entries()) {
        await fireAndExpect(context, connection, irq, vector, each)
      }
    },
  },
  {
    id: 'set-irqs.many-fds',
    rule: 'A message with 16 fds is taken, whatever max_msg_fds says, as Cloud Hypervisor sends it.',
    reference: '§10.2, §18',
    destructive: true,
    async run(context) {
      const irq = largest(context.survey, CLOUD_HYPERVISOR_FDS)
      const connection = await context.attach()
      const told = eventfds(context, CLOUD_HYPERVISOR_FDS)
      await set(connection, '16 eventfds', assign(irq, 0, told.length), told)
    },
  },
  {
    id: 'set-irqs.mask',
    rule: 'A maskable index can be masked and unmasked by NONE and by BOOL, and unmasked by an eventfd.',
    reference: '§10.2',
    destructive: true,
    async run(context) {
      const maskable = assignable(context.survey).filter(
        ({ flags }) => (flags & vfio.VFIO_IRQ_INFO_MASKABLE) !== 0,
      )
      if (maskable.length === 0) throw new Skip('no irq index is maskable')
      const connection = await context.attach()
      for (const { index } of maskable) {
        for (const action of [MASK, UNMASK]) {
          const what = `irq ${index}: ${action === MASK ? 'MASK' : 'UNMASK'}`
          await set(connection, `${what} by NONE`, { flags: NONE | action, index, count: 1 })
          const flags = BOOL | action
          await set(connection, `${what} by BOOL`, { flags, index, count: 1, data: [1] })
        }
        const resample = { flags: EVENTFD | UNMASK, index, count: 1 }
        await set(connection, `irq ${index}: UNMASK by eventfd`, resample, eventfds(context, 1))
      }
    },
  },
  {
    id: 'set-irqs.unmaskable',
    rule: 'MASK and UNMASK of an index that is not maskable are refused with EINVAL.',
    reference: '§19',
    destructive: true,
    async run(context) {
      const fixed = context.survey.irqs.filter(
        ({ flags, count }) => count > 0 && (flags & vfio.VFIO_IRQ_INFO_MASKABLE) === 0,
      )
      if (fixed.length === 0) throw new Skip('every irq index is maskable')
      const connection = await context.attach()
      for (const { index } of fixed) {
        for (const action of [MASK, UNMASK]) {
          const request = irqSet({ flags: NONE | action, index, count: 1 })
          const what = `irq ${index}: ${action === MASK ? 'MASK' : 'UNMASK'}`
          expectRefused(await connection.request(SET_IRQS, request), what)
        }
      }
    },
  },
  {
    id: 'set-irqs.range',
    rule: 'Vectors beyond those of the index are refused with EINVAL, also where start + count wraps.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, ({ index, count: vectors }) =>
        [NONE | TRIGGER, EVENTFD | TRIGGER].flatMap((flags) =>
          (
            [
              [vectors, 1],
              [0, vectors + 1],
              [vectors - 1, 2],
              [0xffff_ffff, 1],
              [0xffff_ffff, 2],
              [1, 0xffff_ffff],
              [0x8000_0000, 0x8000_0000],
            ] as const
          ).map(
            ([start, count]) =>
              [
                `flags 0x${flags.toString(16)}, start ${start}, count ${count} of ${vectors}`,
                irqSet({ flags, index, start, count }),
              ] as const,
          ),
        ),
      )
    },
  },
  {
    id: 'set-irqs.no-vectors',
    rule: 'An index without vectors has none to be triggered or given an eventfd: EINVAL.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      const empty = context.survey.irqs.filter(({ count }) => count === 0)
      if (empty.length === 0) throw new Skip('every irq index has vectors')
      const connection = await context.attach()
      for (const { index } of empty) {
        for (const flags of [NONE | TRIGGER, EVENTFD | TRIGGER]) {
          const request = irqSet({ flags, index, count: 1 })
          const what = `irq ${index}, which has no vectors: flags 0x${flags.toString(16)}`
          expectRefused(await connection.request(SET_IRQS, request), what)
        }
      }
    },
  },
  {
    id: 'set-irqs.flags',
    rule: 'Not exactly one kind of data, not exactly one action, and unknown flags are refused with EINVAL.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, ({ index }) =>
        [
          0,
          NONE,
          TRIGGER,
          NONE | BOOL | TRIGGER,
          NONE | EVENTFD | TRIGGER,
          NONE | MASK | UNMASK,
          NONE | MASK | TRIGGER,
          NONE | TRIGGER | 0x40,
          (NONE | TRIGGER | 0x8000_0000) >>> 0,
          0xffff_ffff,
        ].map((flags) => [
          `flags 0x${flags.toString(16)}`,
          irqSet({ flags, index, count: 1, data: [0] }),
        ]),
      )
    },
  },
  {
    id: 'set-irqs.count-0',
    rule: 'A count of 0 is refused with EINVAL, but for NONE, TRIGGER and start 0.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, ({ index }) => [
        ['NONE, TRIGGER, start 1', irqSet({ flags: NONE | TRIGGER, index, start: 1 })],
        ['EVENTFD, TRIGGER', irqSet({ flags: EVENTFD | TRIGGER, index })],
        ['BOOL, TRIGGER', irqSet({ flags: BOOL | TRIGGER, index })],
        ['NONE, MASK', irqSet({ flags: NONE | MASK, index })],
        ['NONE, UNMASK', irqSet({ flags: NONE | UNMASK, index })],
      ])
    },
  },
  {
    id: 'set-irqs.bool-length',
    rule: 'BOOL with less or more bytes than vectors is refused with EINVAL.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, ({ index }) =>
        [[], [1, 1], [1, 1, 1, 1]].map((data) => [
          `${data.length} bytes for 1 vector`,
          irqSet({ flags: BOOL | TRIGGER, index, count: 1, data }),
        ]),
      )
    },
  },
  {
    id: 'set-irqs.fd-count',
    rule: 'EVENTFD with fds that are not as many as the vectors is refused with EINVAL.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      const irq = firstOf(context.survey)
      const connection = await context.attach()
      const cases = [[1, 2]]
      if (irq.count >= 2) cases.push([2, 1], [2, 3])
      for (const [count = 0, given = 0] of cases) {
        const fds = eventfds(context, given).map(({ fd }) => fd)
        const frame = await connection.request(SET_IRQS, irqSet(assign(irq, 0, count)), { fds })
        expectRefused(frame, `${given} fds for ${count} vectors`)
      }
      await connection.expectAlive('a wrong number of fds')
    },
  },
  {
    id: 'set-irqs.fds-unasked',
    rule: 'fds with NONE or BOOL are refused with EINVAL.',
    reference: '§10.2, §19',
    destructive: true,
    async run(context) {
      await expectRefusals(context, ({ index }) => [
        ['an fd with NONE', irqSet({ flags: NONE | TRIGGER, index, count: 1 }), 1],
        ['an fd with NONE and count 0', irqSet({ flags: NONE | TRIGGER, index }), 1],
        ['an fd with BOOL', irqSet({ flags: BOOL | TRIGGER, index, count: 1, data: [0] }), 1],
      ])
    },
  },
  refusal({
    id: 'set-irqs.short',
    rule: 'A payload of less than 20 bytes is refused with EINVAL.',
    reference: '§10.2, §19',
    command: SET_IRQS,
    requests: () =>
      [0, 8, 19].map((length) => [
        `${length} bytes`,
        irqSet({ flags: NONE | TRIGGER, index: 0 }).subarray(0, length),
      ]),
  }),
  refusal({
    id: 'set-irqs.small-argsz',
    rule: 'An argsz below 20 is refused with EINVAL.',
    reference: '§4, §10.2, §19',
    command: SET_IRQS,
    destructive: true,
    requests: () =>
      [0, 16, 19].map((argsz) => [
        `argsz ${argsz}`,
        irqSet({ argsz, flags: NONE | TRIGGER, index: 0 }),
      ]),
  }),
  refusal({
    id: 'set-irqs.bad-index',
    rule: 'An index that is not below the number of irq indexes is refused with EINVAL.',
    reference: '§10.2, §19',
    command: SET_IRQS,
    requests: ({ irqs }) =>
      [irqs.length, irqs.length + 1, 0x7fff_ffff, 0xffff_ffff].map((index) => [
        `index ${index} of ${irqs.length}`,
        irqSet({ flags: NONE | TRIGGER, index }),
      ]),
  }),
]
