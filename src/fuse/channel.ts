/** The way back to the kernel, as the protocol needs it: /dev/fuse, or whoever stands in for it. */
export interface FuseChannel {
  /**
   * Sends the first `length` of `bytes`, which are the sender's again afterwards.
   *
   * @returns false where nobody waits for it any more, or nobody has what it is about
   */
  send(bytes: Uint8Array, length: number): boolean
}
