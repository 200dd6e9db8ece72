/** How many mdevs a parent may bear, and an owner may have, as the administrator allows. */
import { ErrnoError } from '../lib/errno.ts'
import type { Owner } from '../mdev/owner.ts'
import type { MdevSnapshot } from '../mdev/state.ts'

export interface QuotaLimits {
  /** By parent. */
  readonly parents: ReadonlyMap<string, number>
  /** By the name of a user or of a tool: what either has made counts. */
  readonly owners: ReadonlyMap<string, number>
}

/** What counts: an mdev that is there, or about to be. */
type Counted = Pick<MdevSnapshot, 'uuid' | 'parent' | 'owner'>

export class Quotas {
  #limits: QuotaLimits
  /** What is being created: several may be at a time. */
  readonly #pending = new Map<string, Counted>()

  constructor(limits: QuotaLimits) {
    this.#limits = limits
  }

  /** From now on these go; what is there already, beyond them too, stays. */
  change(limits: QuotaLimits): void {
    this.#limits = limits
  }

  /**
   * Creates an mdev within the limits.
   *
   * Not ENOSPC, which says that the hardware is used up: more could be had here, from the administrator.
   *
   * @param mdevs those that are there; asked for where there is a limit
   * @throws EDQUOT · what `create` throws
   */
  async within<T>(
    wanted: { readonly uuid: string; readonly parent: string; readonly owner?: Owner | undefined },
    mdevs: () => readonly MdevSnapshot[],
    create: () => Promise<T>,
  ): Promise<T> {
    const { uuid, parent, owner } = wanted
    const all = (): readonly Counted[] => {
      const there = new Map<string, Counted>(mdevs().map((mdev) => [mdev.uuid, mdev]))
      for (const [pending, mdev] of this.#pending) there.set(pending, mdev)
      there.delete(uuid) // EEXIST is for the host to say
      return [...there.values()]
    }
    mustBeBelow(this.#limits.parents.get(parent), `parent ${parent}`, () =>
      all().filter((mdev) => mdev.parent === parent),
    )
    for (const name of new Set(owner === undefined ? [] : [owner.user, owner.tool])) {
      mustBeBelow(this.#limits.owners.get(name), `owner ${name}`, () =>
        all().filter((mdev) => mdev.owner?.user === name || mdev.owner?.tool === name),
      )
    }
    this.#pending.set(uuid, { uuid, parent, ...(owner === undefined ? {} : { owner }) })
    try {
      return await create()
    } finally {
      this.#pending.delete(uuid)
    }
  }
}

function mustBeBelow(
  limit: number | undefined,
  whose: string,
  count: () => readonly Counted[],
): void {
  if (limit === undefined || count().length < limit) return
  const mdevs = limit === 1 ? '1 mdev' : `${limit} mdevs`
  throw new ErrnoError('EDQUOT', `${whose}: may have ${mdevs}, by max-mdevs in the configuration`)
}
