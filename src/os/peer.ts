/** A program on this host at the far end of something: what `openPty` and `listenForPeer` have in common. */

/** What a peer's place tells its owner; never from inside `read`, `write` or `close`. */
export interface PeerEvents {
  /** There is something to read. Not called again before `read` has returned 0; read now, or whenever it suits. */
  onReadable?(): void
  /** There may be room again, after `write` took less than it was given. */
  onWritable?(): void
  /** A program has come, or the last has gone; what it wrote before can still be read. */
  onPresence?(present: boolean): void
}

/** A place where programs come and go. */
export interface Peer extends Disposable {
  /** Where programs find it. */
  readonly path: string
  /** Whether a program is there. */
  readonly present: boolean
  /** Reads what has come. Never blocks. @returns bytes read; 0: nothing more now */
  read(into: Uint8Array): number
  /** Writes to the program. Never blocks. @returns bytes taken; with nobody there all of them, and they are lost */
  write(bytes: Uint8Array): number
  /** Ends the place; a program that is there reads end of file. Idempotent. */
  close(): void
}
