/** Who has mdevs open, in words. */

interface Held {
  readonly uuid: string
  /** Who has it open: `pid 4711 (qemu-system-x86)`. */
  readonly client?: string
}

/** Most that are named. */
const MOST = 4

/** `mdev UUID: in use by pid 4711 (qemu-system-x86); mdev …`; empty where nobody has any of them open. */
export function describeHolders(mdevs: readonly Held[]): string {
  const held = mdevs.filter(({ client }) => client !== undefined)
  const named = held.slice(0, MOST).map(({ uuid, client }) => `mdev ${uuid}: in use by ${client}`)
  const more = held.length > MOST ? [`${held.length - MOST} more are in use`] : []
  return [...named, ...more].join('; ')
}
