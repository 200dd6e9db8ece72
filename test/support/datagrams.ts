/** The end of a UNIX datagram socket where systemd would be. */
import * as socket from '../../src/abi/socket.ts'
import { closeFd } from '../../src/os/fd.ts'
import { addressOf, cFunction, check } from '../../src/os/ffi.ts'

const cSocket = cFunction('socket', 'int', ['int', 'int', 'int'])
const cBind = cFunction('bind', 'int', ['int', 'ptr', 'u32'])
const cRecv = cFunction('recv', 'size', ['int', 'ptr', 'size', 'int'])

// <bits/socket_type.h>
const SOCK_DGRAM = 2

export class DatagramReceiver implements Disposable {
  readonly #fd = check(
    cSocket(socket.AF_UNIX, SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0),
    'socket',
  )

  /** @param path or `\0NAME` */
  constructor(path: string) {
    const family = socket.SockaddrUn.encode({ sun_family: socket.AF_UNIX })
    const address = Buffer.concat([family, Buffer.from(path)])
    check(cBind(this.#fd, addressOf(address), address.byteLength), `bind ${path}`)
  }

  /** What has come, one text a datagram. */
  received(): string[] {
    const buffer = Buffer.alloc(4096)
    const texts: string[] = []
    for (;;) {
      const length = cRecv(this.#fd, addressOf(buffer), buffer.length, 0)
      if (length < 0) return texts
      texts.push(buffer.toString('utf8', 0, length))
    }
  }

  [Symbol.dispose](): void {
    closeFd(this.#fd)
  }
}
