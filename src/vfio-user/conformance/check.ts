/** What a check is, what it gets to work with, and the expectations that most checks are made of. */
import * as wire from '../../abi/vfio-user.ts'
import { type ErrnoCode, errnoCode } from '../../lib/errno.ts'
import { describeFrame, type Frame, isError, type RawConnection } from './raw-connection.ts'
import type { Survey } from './survey.ts'
import { Violation } from './violation.ts'

export interface Check {
  /** Group, dot, name; `--only` takes it. */
  readonly id: string
  /** One sentence; where the reference permits several answers, it names them. */
  readonly rule: string
  /** Sections of the reference. */
  readonly reference: string
  /** It changes the device, its memory or its interrupts, or would if the server were wrong; or it reads a BAR. */
  readonly destructive: boolean
  /** @throws Violation the server breaks the rule · Skip the rule does not concern it */
  run(context: Context): Promise<void>
}

/** What one check works with; all that it opens is closed when it ends. */
export interface Context {
  /** What the server says that it is. */
  readonly survey: Survey
  /** How long the server may take for anything. */
  readonly limitMs: number
  /** Connects and says nothing. */
  connect(): Promise<RawConnection>
  /** A connection over a socket that is there already. @param fd owned by it */
  connectionOver(fd: number): RawConnection
  /** Connects and says VERSION, as QEMU does unless told otherwise. */
  attach(proposal?: Uint8Array): Promise<RawConnection>
  /** Has `resource` freed at the end of the check. */
  own<T extends Disposable>(resource: T): T
  /** A socket to be given away. */
  beacon(): Beacon
}

/** An fd that tells when every copy of it is closed, those given to a peer included. */
export interface Beacon extends Disposable {
  readonly fd: number
  /** Closes ours; all the copies that the server got must be closed too, or be so soon. */
  expectReleased(after: string): Promise<void>
}

/** Error replies with one of these are what is expected. */
export function expectRefused(
  frame: Frame,
  what: string,
  errnos: readonly ErrnoCode[] = ['EINVAL'],
): void {
  if (isError(frame) && frame.error !== 0 && errnos.includes(errnoCode(frame.error))) return
  throw new Violation(`${what}: an error reply with ${oneOf(errnos)}`, describeFrame(frame))
}

/** A success of `length` bytes of payload, or of any length. */
export function expectSuccess(frame: Frame, what: string, length?: number): void {
  if (!isError(frame) && (length === undefined || frame.payload.length === length)) return
  const size = length === undefined ? '' : ` with ${length} bytes of payload`
  throw new Violation(`${what}: success${size}`, describeFrame(frame))
}

/** Success, or a refusal with one of these. */
export function expectSuccessOr(
  frame: Frame,
  what: string,
  errnos: readonly ErrnoCode[] = ['EINVAL'],
): void {
  if (isError(frame)) expectRefused(frame, `${what}: success, or`, errnos)
}

/** @param got what is the case, if that is not `expected` */
export function expect(condition: boolean, expected: string, got: string | number): void {
  if (!condition) throw new Violation(expected, String(got))
}

/** The connection ends: at once, or after an error reply with EINVAL. */
export async function expectRefusedEnd(connection: RawConnection, what: string): Promise<void> {
  const expected = `${what}: EINVAL and the end of the connection, or the end at once`
  const frame = await connection.nextOrEnd(expected)
  if (frame === undefined) return
  if (!isError(frame) || errnoCode(frame.error) !== 'EINVAL')
    throw new Violation(expected, describeFrame(frame))
  await connection.expectEnd(`${what}: the end of the connection after EINVAL`)
}

/** One wrong request: what is wrong with it, its payload. */
export type WrongRequest = readonly [what: string, payload: Uint8Array]

export interface RefusalOptions {
  readonly id: string
  readonly rule: string
  readonly reference: string
  readonly command: number
  readonly destructive?: boolean
  /** Any of these will do; EINVAL unless given. */
  readonly errnos?: readonly ErrnoCode[]
  /** @throws Skip there is nothing to ask this server for */
  requests(survey: Survey): readonly WrongRequest[]
}

/** A check that each of some wrong requests is refused, and that the connection lives on. */
export function refusal(options: RefusalOptions): Check {
  const { id, rule, reference, command, destructive = false, errnos = ['EINVAL'] } = options
  return {
    id,
    rule,
    reference,
    destructive,
    async run(context) {
      const requests = options.requests(context.survey)
      const connection = await context.attach()
      for (const [what, payload] of requests) {
        const frame = await connection.request(command, payload)
        expectRefused(frame, what, errnos)
        await connection.expectAlive(what)
      }
    },
  }
}

export function oneOf(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`
}

export const REPLY = wire.VFIO_USER_F_TYPE_REPLY
export const NO_REPLY = wire.VFIO_USER_F_NO_REPLY
