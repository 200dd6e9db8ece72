/** One client's use of an mdev, from its open to its close. */
import type { Device } from '../device/device.ts'
import type { ClientMemory, DmaRange } from '../device/dma.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { BuiltDevice } from './built-device.ts'
import type { MdevLife } from './mdev-life.ts'

/** An opened mdev. */
export interface MdevSession {
  readonly device: Device
  /**
   * Where drivers have to be told first: resolves when it is open, until when there is nothing to do with it but to close it.
   *
   * @throws ETIMEDOUT a driver takes too long · what a driver says · ECONNABORTED it has been closed; it is closed in any case
   */
  readonly ready?: Promise<void>
  /** Tells the driver what the client has mapped, and what it is about to unmap. */
  dmaMap(range: DmaRange): void
  dmaUnmap(range: DmaRange): void
  /** Last close: the device goes back to its power-on state. Idempotent. */
  close(): void
}

export interface SessionOptions {
  readonly uuid: string
  readonly life: MdevLife
  readonly device: Device
  readonly built: BuiltDevice
  readonly memory: ClientMemory
  /** The opening of its group, where that takes time. */
  readonly opening: void | Promise<void>
  /** Told when it is open, and when it is so no more. */
  readonly tell: (event: 'attach' | 'detach') => void
  /** The client has gone, whether it was open or about to be: nobody has the mdev any more once this returns. */
  readonly onClose: () => void
  /** All is done that a close does. */
  readonly onClosed: () => void
}

export function sessionOf({
  uuid,
  life,
  device,
  built,
  memory,
  opening,
  tell,
  onClose,
  onClosed,
}: SessionOptions): MdevSession {
  let state: 'opening' | 'open' | 'closed' = 'opening'
  const attach = () => {
    state = 'open'
    built.attach(memory)
    tell('attach')
  }
  const close = () => {
    if (state === 'closed') return
    const attached = state === 'open'
    state = 'closed'
    if (attached) built.detach()
    onClose()
    if (attached) tell('detach')
    onClosed()
  }
  const openLater = async (opened: Promise<void>) => {
    try {
      await opened
      if (state === 'closed')
        throw new ErrnoError('ECONNABORTED', `mdev ${uuid}: the client has gone`)
      if (life.state === 'removed') throw life.between() // from under a client that clings to it
      attach()
    } catch (error) {
      close()
      throw error
    }
  }
  if (opening === undefined) attach()
  return {
    device,
    ...(opening === undefined ? {} : { ready: openLater(opening) }),
    dmaMap: (range) => built.dmaMap(range),
    dmaUnmap: (range) => built.dmaUnmap(range),
    close,
  }
}
