/** The kernel's side of the protocol, byte by byte as <linux/fuse.h> has it, for sessions without a mount. */
import assert from 'node:assert/strict'
import { ErrnoError } from '../../src/lib/errno.ts'
import { createLogger } from '../../src/lib/log.ts'
import type { Tree } from '../../src/lib/tree.ts'
import { ManualClock } from '../mdev/support.ts'
import { FuseSession } from '../../src/fuse/session.ts'

/** Opcodes and sizes restated. */
export const OP = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RENAME: 12,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  CREATE: 35,
  INTERRUPT: 36,
  IOCTL: 39,
  POLL: 40,
  BATCH_FORGET: 42,
} as const

const IN_HEADER = 40
const OUT_HEADER = 16

export interface Sent {
  readonly unique: number
  /** 0 or a negative errno; of a notification, its code. */
  readonly error: number
  readonly body: Buffer
}

/** A session and all that it has sent. */
export class Kernel {
  readonly session: FuseSession
  /** Replies and, with unique 0, notifications, in their order. */
  readonly sent: Sent[] = []
  readonly clock = new ManualClock()
  readonly logged: string[] = []
  /** What the next replies meet: nobody who waits for them. */
  deaf = false
  /** It has no memory left for what it is told. */
  short = false
  #unique = 2
  #arrived = new Map<number, (sent: Sent) => void>()

  /** @param minor version that the kernel speaks; undefined leaves INIT to the test */
  constructor(tree: Tree, minor?: number) {
    const channel = {
      send: (bytes: Uint8Array, length: number) => {
        if (this.short) throw new ErrnoError('ENOMEM', 'write')
        const sent = parse(bytes.slice(0, length))
        this.sent.push(sent)
        this.#arrived.get(sent.unique)?.(sent)
        return !this.deaf
      },
    }
    this.session = new FuseSession(tree, channel, {
      log: createLogger('warn', (line) => this.logged.push(line)),
      owner: { uid: 0, gid: 0 },
      clock: this.clock,
    })
    if (minor !== undefined) this.expect(OP.INIT, 0, u32(7, minor, 0, 0xffff_ffff))
  }

  /** Sends a request. @returns its unique number */
  request(opcode: number, nodeid: number, ...parts: readonly Uint8Array[]): number {
    const unique = (this.#unique += 2)
    const body = Buffer.concat(parts)
    const length = IN_HEADER + body.length
    const header = Buffer.concat([
      u32(length, opcode),
      u64(unique, nodeid),
      u32(1000, 100, 4242, 0), // uid, gid, pid
    ])
    this.session.receive(Buffer.concat([header, body]), length)
    return unique
  }

  /** Sends a request that is answered at once. @returns the answer's body @throws where it is a refusal */
  expect(opcode: number, nodeid: number, ...parts: readonly Uint8Array[]): Buffer {
    const sent = this.#answer(this.request(opcode, nodeid, ...parts))
    assert.equal(sent.error, 0, `request ${opcode}`)
    return sent.body
  }

  /** Sends a request that is refused at once. @returns the negative errno */
  refusal(opcode: number, nodeid: number, ...parts: readonly Uint8Array[]): number {
    const { error } = this.#answer(this.request(opcode, nodeid, ...parts))
    assert.ok(error < 0, `request ${opcode} is not refused`)
    return error
  }

  /** The reply to a request that is answered later. */
  reply(unique: number): Promise<Sent> {
    const sent = this.sent.find((each) => each.unique === unique)
    if (sent !== undefined) return Promise.resolve(sent)
    return new Promise((resolve) => this.#arrived.set(unique, resolve))
  }

  answered(unique: number): boolean {
    return this.sent.some((each) => each.unique === unique)
  }

  /** @returns codes of the notifications since the last look */
  notifications(): number[] {
    return this.sent.splice(0).flatMap(({ unique, error }) => (unique === 0 ? [error] : []))
  }

  /** The node of that name. */
  lookup(parent: number, name: string): number {
    return Number(this.expect(OP.LOOKUP, parent, text(name)).readBigUInt64LE(0))
  }

  /** @returns the handle */
  open(nodeid: number, flags: number): number {
    return Number(this.expect(OP.OPEN, nodeid, u32(flags, 0)).readBigUInt64LE(0))
  }

  read(nodeid: number, fh: number, offset: number, size: number): string {
    return this.expect(OP.READ, nodeid, readIn(fh, offset, size)).toString('latin1')
  }

  /** @returns how much was taken */
  write(nodeid: number, fh: number, data: string): number {
    return this.expect(OP.WRITE, nodeid, writeIn(fh, 0, data.length), text(data)).readUInt32LE(0)
  }

  #answer(unique: number): Sent {
    const sent = this.sent.filter((each) => each.unique === unique)
    assert.equal(sent.length, 1, 'answered once')
    return sent[0]!
  }
}

function parse(bytes: Uint8Array): Sent {
  const buffer = Buffer.from(bytes)
  assert.equal(buffer.readUInt32LE(0), buffer.length, 'the length that it says')
  return {
    error: buffer.readInt32LE(4),
    unique: Number(buffer.readBigUInt64LE(8)),
    body: buffer.subarray(OUT_HEADER),
  }
}

export function u32(...values: readonly number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer)
}

export function u64(...values: readonly number[]): Buffer {
  return Buffer.from(BigUint64Array.from(values, BigInt).buffer)
}

/** A name and its NUL. */
export function text(name: string): Buffer {
  return Buffer.from(`${name}\0`)
}

/** struct fuse_read_in */
export function readIn(fh: number, offset: number, size: number): Buffer {
  return Buffer.concat([u64(fh, offset), u32(size, 0), u64(0), u32(0, 0)])
}

/** struct fuse_write_in */
export function writeIn(fh: number, offset: number, size: number): Buffer {
  return readIn(fh, offset, size)
}
