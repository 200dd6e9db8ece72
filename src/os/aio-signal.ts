/**
 * Signals eventfds without ever blocking, whatever their other owners do to them.
 *
 * A write to an eventfd blocks when its counter is full, unless the description is non-blocking; a peer can fill the
 * counter and make the description blocking at any moment, and no flag of a write overrides that. What never blocks is
 * the kernel's own signalling: here, of the completion of an asynchronous read of nothing.
 */
import { openSync } from 'node:fs'
import * as aio from '../abi/aio.ts'
import { bytesAt, cFunction, permanent } from './ffi.ts'

const ioSetup = cFunction('syscall', 'size', ['size', 'u32', 'ptr'])
const ioSubmit = cFunction('syscall', 'size', ['size', 'ptr', 'size', 'ptr'])
const ioGetevents = cFunction('syscall', 'size', ['size', 'ptr', 'size', 'size', 'ptr', 'ptr'])

/** Completions that the kernel keeps for us at most; they are thrown away in time. */
const MAX_EVENTS = 64

export class AioSignaller {
  readonly #context: number
  readonly #request = aio.Iocb.view()
  readonly #pointers: number
  readonly #events: number
  #completions = 0

  private constructor(context: number) {
    this.#context = context
    const request = permanent(aio.Iocb.size)
    this.#request.aim(new DataView(bytesAt(request, aio.Iocb.size)))
    this.#request.aio_lio_opcode = aio.IOCB_CMD_PREAD
    this.#request.aio_fildes = openSync('/dev/null', 'r') // whose reads complete at once, with nothing
    this.#request.aio_flags = aio.IOCB_FLAG_RESFD
    this.#pointers = permanent(8)
    new DataView(bytesAt(this.#pointers, 8)).setBigUint64(0, BigInt(request), true)
    this.#events = permanent(aio.IoEvent.size * MAX_EVENTS)
  }

  /** @returns undefined where the kernel offers no asynchronous I/O to this process */
  static create(): AioSignaller | undefined {
    const context = permanent(8)
    if (ioSetup(aio.SYS_io_setup, MAX_EVENTS, context) < 0) return undefined
    return new AioSignaller(Number(new DataView(bytesAt(context, 8)).getBigUint64(0, true)))
  }

  /** Adds 1 to the eventfd's counter. @returns false when the kernel did not */
  signal(fd: number): boolean {
    this.#request.aio_resfd = fd
    if (++this.#completions >= MAX_EVENTS) this.#discard()
    return ioSubmit(aio.SYS_io_submit, this.#context, 1, this.#pointers) === 1
  }

  #discard(): void {
    ioGetevents(aio.SYS_io_getevents, this.#context, 0, MAX_EVENTS, this.#events, 0)
    this.#completions = 1
  }
}
