/** Who made an mdev, or a definition: a user, and the tool that they made it with. */
import { ErrnoError } from '../lib/errno.ts'
import type { Definition } from './definition.ts'

export interface Owner {
  /** As the kernel vouches for it: a user's name. */
  readonly user: string
  /** As the tool calls itself; the user's name where it says nothing. */
  readonly tool: string
}

/** The key in a definition's file, beside mdevctl's own. */
const KEY = 'mdevkit'
const TOOL = /^[A-Za-z0-9][\w.@:+-]{0,63}$/

/** The name of a tool. @throws EINVAL */
export function parseTool(text: string): string {
  if (TOOL.test(text)) return text
  const shown = JSON.stringify(text.slice(0, 80))
  throw new ErrnoError('EINVAL', `owner ${shown}: letters, digits, . _ - @ : + only, at most 64`)
}

/** `libvirt`, `libvirt of alice`. @param seenBy who reads it: their own user is not named */
export function describeOwner({ user, tool }: Owner, seenBy: Owner): string {
  return user === tool || user === seenBy.user ? tool : `${tool} of ${user}`
}

export function isSameOwner(a: Owner, b: Owner): boolean {
  return a.user === b.user && a.tool === b.tool
}

/** Undefined where its file names nobody. */
export function ownerOfDefinition({ others }: Definition): Owner | undefined {
  const { owner } = objectOr(others?.[KEY])
  const { user, tool } = objectOr(owner)
  return typeof user === 'string' && typeof tool === 'string' ? { user, tool } : undefined
}

/** The same definition of somebody else's; of nobody in particular, its file is as mdevctl writes it. */
export function withOwner(definition: Definition, owner: Owner | undefined): Definition {
  const { others = {}, ...rest } = definition
  const { owner: _before, ...ours } = objectOr(others[KEY])
  const { [KEY]: _ours, ...theirs } = others
  const next = owner === undefined ? ours : { ...ours, owner }
  const all = Object.keys(next).length === 0 ? theirs : { ...theirs, [KEY]: next }
  return Object.keys(all).length === 0 ? rest : { ...rest, others: all }
}

function objectOr(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {}
}
