/** When the hosts that were there before are known: whoever starts hosts where there are none waits for that. */
import { readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { hostSocket } from '../host/paths.ts'
import { isAnswered } from '../os/unix-socket.ts'
import type { Hosts } from './hosts.ts'

const SUFFIX = '.sock'

/**
 * Resolves once every host that listens now has been found, or after `timeoutMs`: one may hang.
 *
 * @returns parents whose hosts listen, and have not been found
 */
export async function foundHosts(
  root: string,
  hosts: Hosts,
  timeoutMs: number,
): Promise<readonly string[]> {
  const directory = dirname(hostSocket(root, ''))
  const missing = new Set(
    readdirSync(directory)
      .filter((name) => name.endsWith(SUFFIX) && isAnswered(join(directory, name)))
      .map((name) => basename(name, SUFFIX)),
  )
  for (const { parent } of hosts.all) missing.delete(parent.name)
  if (missing.size === 0) return []
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      hosts.off('up', onUp)
      resolve([...missing])
    }
    const onUp = ({ parent }: { readonly parent: { readonly name: string } }) => {
      missing.delete(parent.name)
      if (missing.size === 0) done()
    }
    const timer = setTimeout(done, timeoutMs)
    hosts.on('up', onUp)
  })
}
