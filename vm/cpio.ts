/** Writes a cpio archive in the "newc" form, as the kernel unpacks one into its first root file system. */

const S_IFLNK = 0o120000
const S_IFREG = 0o100000
const S_IFDIR = 0o040000
const S_IFCHR = 0o020000

/** Documentation/driver-api/early-userspace/buffer-format.rst: magic, then 13 fields of 8 hexadecimal digits. */
const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'

interface Inode {
  readonly mode: number
  readonly content?: Uint8Array
  readonly device?: { readonly major: number; readonly minor: number }
}

/** An archive in the making. Paths are absolute; directories on the way to one are added with it. */
export class CpioWriter {
  readonly #parts: Uint8Array[] = []
  readonly #known = new Set<string>()
  #ino = 0

  directory(path: string, mode = 0o755): void {
    if (!this.#enter(path)) return
    this.#add(path, { mode: S_IFDIR | mode })
  }

  file(path: string, mode: number, content: Uint8Array | string): void {
    if (!this.#enter(path)) return
    this.#add(path, { mode: S_IFREG | mode, content: Buffer.from(content) })
  }

  symlink(path: string, target: string): void {
    if (!this.#enter(path)) return
    this.#add(path, { mode: S_IFLNK | 0o777, content: Buffer.from(target) })
  }

  characterDevice(path: string, mode: number, major: number, minor: number): void {
    if (!this.#enter(path)) return
    this.#add(path, { mode: S_IFCHR | mode, device: { major, minor } })
  }

  /** Ends the archive and returns it. */
  finish(): Buffer {
    this.#add(`/${TRAILER}`, { mode: 0 })
    return Buffer.concat(this.#parts)
  }

  /** Adds the directories above `path`. False if the path was there before: the first one stays. */
  #enter(path: string): boolean {
    if (this.#known.has(path)) return false
    this.#known.add(path)
    const parent = path.slice(0, path.lastIndexOf('/'))
    if (parent !== '') this.directory(parent)
    return true
  }

  #add(path: string, { mode, content, device }: Inode): void {
    const name = Buffer.from(`${path.slice(1)}\0`)
    const size = content?.length ?? 0
    const { major, minor } = device ?? { major: 0, minor: 0 }
    const ino = mode === 0 ? 0 : ++this.#ino
    // ino, mode, uid, gid, nlink, mtime, filesize, device major and minor, rdev major and minor, namesize, check
    const fields = [ino, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name.length, 0]
    const digits = fields.map((field) => field.toString(16).padStart(8, '0'))
    this.#pad(Buffer.concat([Buffer.from(MAGIC + digits.join('')), name]))
    if (content) this.#pad(content)
  }

  /** Name and content each end on a multiple of 4 bytes. */
  #pad(bytes: Uint8Array): void {
    this.#parts.push(bytes, Buffer.alloc(-bytes.length & 3))
  }
}
