/** Users by number, as the passwd file has them. */
import { readFileSync } from 'node:fs'

/** The name of a user; `uid 1000` where the file does not have it. */
export function userName(uid: number, file = '/etc/passwd'): string {
  return entriesOf(file).find(([, , number]) => number === String(uid))?.[0] ?? `uid ${uid}`
}

/** A user's and their group's number, by name or number; undefined where the file does not have that name. */
export function userIds(
  user: string | number,
  file = '/etc/passwd',
): { readonly uid: number; readonly gid: number } | undefined {
  const entry = entriesOf(file).find(([name, , uid]) => name === user || uid === String(user))
  if (entry === undefined) return typeof user === 'number' ? { uid: user, gid: user } : undefined
  return { uid: Number(entry[2]), gid: Number(entry[3]) }
}

/** A group's number, by name or number; undefined where the file does not have that name. */
export function groupId(group: string | number, file = '/etc/group'): number | undefined {
  if (typeof group === 'number') return group
  const entry = entriesOf(file).find(([name]) => name === group)
  return entry === undefined ? undefined : Number(entry[2])
}

function entriesOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .map((line) => line.split(':'))
  } catch {
    return []
  }
}
