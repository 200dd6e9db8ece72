/** A tree of files, mounted: every program sees it, and this process serves it. */
import { systemClock } from '../lib/clock.ts'
import { ErrnoError } from '../lib/errno.ts'
import { type Logger, silentLogger } from '../lib/log.ts'
import type { Tree } from '../lib/tree.ts'
import { Unwind } from '../lib/unwind.ts'
import { closeFd } from '../os/fd.ts'
import { FuseDevice, NOTHING_YET, openFuseDevice, UNMOUNTED } from '../os/fuse-device.ts'
import { mountByFusermount, unmountByFusermountAtExit } from '../os/fusermount.ts'
import { detachMount, mountFileSystem, mountsAt } from '../os/mount.ts'
import { EPOLLIN, reactor, type Watch } from '../os/reactor.ts'
import { detach, prepareMountPoint } from './mount-point.ts'
import { FuseSession, MAX_REQUEST } from './session.ts'

export interface FuseMountOptions {
  /** Directory; made if need be. What is in it is hidden while the mount lasts. */
  readonly path: string
  /** What the mount is called in /proc/mounts, and by which one that a killed server has left is known again. */
  readonly name?: string
  /** Whether other users may enter; root does unless told otherwise, others need `user_allow_other` in /etc/fuse.conf. */
  readonly allowOther?: boolean
  readonly log?: Logger
}

/** Requests that are served in a row before others in this process get their turn. */
const REQUESTS_PER_TURN = 64

/**
 * One mount. The process that has it must not touch it itself, not even by a stat: a synchronous call would wait for ever
 * for an answer that only this process can give.
 */
export class FuseMount implements AsyncDisposable {
  /** Where it is mounted, without links and dots. */
  readonly path: string
  /** Resolves when nothing is mounted any more, whoever has unmounted it. */
  readonly ended: Promise<void>
  readonly #device: FuseDevice
  readonly #session: FuseSession
  readonly #watch: Watch
  readonly #log: Logger
  readonly #type: string
  readonly #atExit: () => void
  #resolveEnded!: () => void
  #mounted = true
  #hasEnded = false

  /**
   * Mounts a tree: as root by the system call, else by fusermount3.
   *
   * A mount at the same place whose server has been killed is taken away first. An ending process unmounts, but one that is
   * killed cannot: whoever then enters gets ENOTCONN until the next start.
   *
   * @throws ENODEV no /dev/fuse · ENOENT no fusermount3 · EPERM, EACCES not allowed here, as in most containers · EBUSY
   *         another server has a mount there. Each says what would help; all else works without the mount
   */
  static async mount(
    tree: Tree,
    { path, name = 'mdevkit', allowOther, log = silentLogger }: FuseMountOptions,
  ): Promise<FuseMount> {
    const type = `fuse.${name}`
    const place = await prepareMountPoint(path, type, log)
    const owner = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
    const { fd, byProgram } = await connect(place, name, allowOther ?? owner.uid === 0, owner)
    try {
      return new FuseMount(tree, { place, type, fd, byProgram, owner, log })
    } catch (error) {
      closeFd(fd)
      await detach(place)
      throw error
    }
  }

  private constructor(
    tree: Tree,
    {
      place,
      type,
      fd,
      byProgram,
      owner,
      log,
    }: {
      place: string
      type: string
      fd: number
      byProgram: boolean
      owner: { uid: number; gid: number }
      log: Logger
    },
  ) {
    this.path = place
    this.#log = log
    this.#type = type
    this.#device = new FuseDevice(fd, MAX_REQUEST)
    this.#session = new FuseSession(tree, this.#device, { log, owner, clock: systemClock })
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
    this.#atExit = () => this.#unmountAtExit(byProgram)
    process.once('exit', this.#atExit)
    this.#watch = reactor().watch(fd, EPOLLIN, () => this.#serve())
  }

  /** What is held for the kernel. */
  get held(): FuseSession['held'] {
    return this.#session.held
  }

  /** Unmounts. Who has something of it open, or is in it, gets ENOTCONN from now on. Idempotent. */
  async close(): Promise<void> {
    if (!this.#mounted) return this.ended
    this.#mounted = false
    process.off('exit', this.#atExit)
    try {
      await detach(this.path)
    } catch (error) {
      // Somebody may have unmounted it before us; and where it cannot be unmounted, it is dead at least.
      this.#log.warn((error as Error).message)
    }
    this.#end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** @returns whether there was anything; 'more' when there may be */
  #serve(): boolean | 'more' {
    try {
      for (let i = 0; i < REQUESTS_PER_TURN; i++) {
        const length = this.#device.receive()
        if (length === NOTHING_YET) return i > 0
        if (length === UNMOUNTED) {
          this.#disconnected()
          return true
        }
        this.#session.receive(this.#device.bytes, length)
      }
      return 'more'
    } catch (error) {
      this.#log.error(`${this.path}: the mount is given up`, error)
      this.#watch.close()
      this.#device.close() // first: nobody may wait for an answer from here on
      void this.close()
      return true
    }
  }

  /** Unmounted by somebody else; or the connection was aborted, and what is left of the mount is of no use. */
  #disconnected(): void {
    this.#watch.close()
    if (this.#mounted && mountsAt(this.path).at(-1) === this.#type) {
      this.#log.warn(`${this.path}: the connection was aborted`)
      void this.close()
    } else this.#end()
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#mounted = false
    process.off('exit', this.#atExit)
    this.#session.close()
    this.#watch.close()
    this.#device.close()
    this.#resolveEnded()
  }

  /** The connection goes first: nobody, fusermount3 included, may wait for an answer from here on. */
  #unmountAtExit(byProgram: boolean): void {
    this.#device.close()
    try {
      if (byProgram) unmountByFusermountAtExit(this.path)
      else detachMount(this.path)
    } catch {
      // the next start will find it
    }
  }
}

async function connect(
  place: string,
  name: string,
  allowOther: boolean,
  { uid, gid }: { uid: number; gid: number },
): Promise<{ fd: number; byProgram: boolean }> {
  const common = allowOther ? 'default_permissions,allow_other' : 'default_permissions'
  if (uid === 0) {
    using undo = new Unwind()
    const fd = openFuseDevice()
    undo.defer(() => closeFd(fd))
    const options = `fd=${fd},rootmode=40000,user_id=${uid},group_id=${gid},${common}`
    try {
      mountFileSystem({ source: name, path: place, type: `fuse.${name}`, options })
      undo.keep()
      return { fd, byProgram: false }
    } catch (error) {
      if (!(error instanceof ErrnoError) || error.code !== 'EPERM') throw error
      const remedy = 'mounting takes CAP_SYS_ADMIN, which a container must be given'
      throw new ErrnoError('EPERM', `mount at ${place}: ${remedy}`, { cause: error })
    }
  }
  const options = `fsname=${name},subtype=${name},nosuid,nodev,noexec,${common}`
  return { fd: await mountByFusermount(place, options), byProgram: true }
}
