/** Which Debian mirror this machine uses, read from apt's own list of sources. */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { execute } from './execute.ts'

/** One place that apt takes packages from: a `deb` line, or one combination of a deb822 stanza. */
export interface AptSource {
  readonly uri: string
  readonly suite: string
  readonly components: readonly string[]
  /** Path of the keyring that signs it, if the source names one. */
  readonly signedBy: string | undefined
}

/** Suites that are no codename. */
const ALIASES = new Set(['oldstable', 'stable', 'testing', 'unstable', 'sid'])

/** Reads the one-line form, sources.list(5): `deb [options] uri suite component…`. Other lines are skipped. */
export function parseList(text: string): AptSource[] {
  return text.split('\n').flatMap((line): AptSource[] => {
    const match = /^\s*deb\s+(?:\[([^\]]*)\]\s*)?([^#]+)/.exec(line)
    const [uri, suite, ...components] = words(match?.[2])
    if (uri === undefined || suite === undefined) return []
    const signedBy = /signed-by=(\/[^\s,]+)/.exec(match?.[1] ?? '')?.[1]
    return [{ uri, suite, components, signedBy }]
  })
}

/** Reads the deb822 form, sources.list(5). Disabled stanzas and those without binary packages are skipped. */
export function parseDeb822(text: string): AptSource[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'))
  return lines
    .join('\n')
    .split(/\n[ \t]*\n/)
    .flatMap((stanza) => {
      const fields = new Map<string, string>()
      for (const match of stanza.matchAll(/^([\w-]+):(.*(?:\n[ \t].*)*)/gm)) {
        fields.set(match[1]!.toLowerCase(), match[2]!.trim())
      }
      if (/^(no|false|without|off|disable)$/i.test(fields.get('enabled') ?? '')) return []
      if (!words(fields.get('types')).includes('deb')) return []
      const components = words(fields.get('components'))
      const signedBy = /^\/\S+/.exec(fields.get('signed-by') ?? '')?.[0]
      return words(fields.get('uris')).flatMap((uri) =>
        words(fields.get('suites')).map((suite) => ({ uri, suite, components, signedBy })),
      )
    })
}

/**
 * The sources that may be mirrors of the Debian archive, best first. Whether one is shows only when apt has checked
 * its signature, so this is an order to try them in.
 *
 * @param codename of the machine's own release, such as `bookworm`
 */
export function debianMirrors(sources: readonly AptSource[], codename: string): string[] {
  const scores = new Map<string, number>()
  for (const { uri, suite, components, signedBy } of sources) {
    const security = suite.endsWith('-security') || suite.includes('/')
    const ours = suite === codename || suite.startsWith(`${codename}-`) || ALIASES.has(suite)
    if (!components.includes('main') || security || !ours || uri.startsWith('cdrom:')) continue
    let score = scores.get(uri) ?? 0
    if (suite === codename || ALIASES.has(suite)) score += 1
    if (suite === `${codename}-updates`) score += 2 // hardly a third party has one
    if (signedBy?.includes('debian-archive-')) score += 4
    if (/\/debian\/?$/.test(uri)) score += 1
    scores.set(uri, score)
  }
  return [...scores].toSorted(([, a], [, b]) => b - a).map(([uri]) => uri)
}

/** All sources that apt would use here. */
export async function readAptSources(signal?: AbortSignal): Promise<AptSource[]> {
  const shell = await execute(
    'apt-config',
    ['shell', 'LIST', 'Dir::Etc::sourcelist/f', 'PARTS', 'Dir::Etc::sourceparts/d'],
    { signal },
  )
  const path = (name: string) => new RegExp(`^${name}='(.*)'$`, 'm').exec(shell.toString())?.[1]
  const list = path('LIST') ?? '/etc/apt/sources.list'
  const parts = path('PARTS') ?? '/etc/apt/sources.list.d'
  const names = await readdir(parts).catch((): string[] => [])
  const files = [list, ...names.toSorted().map((name) => join(parts, name))]
  const sources = files.map(async (file) => {
    if (!/\.(list|sources)$/.test(file)) return []
    const text = await readFile(file, 'utf8').catch(() => '')
    return file.endsWith('.list') ? parseList(text) : parseDeb822(text)
  })
  return (await Promise.all(sources)).flat()
}

function words(text: string | undefined): string[] {
  return text?.split(/\s+/).filter((word) => word !== '') ?? []
}
