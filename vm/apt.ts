/** An apt of our own: it downloads signed Debian packages without root, and knows nothing of what is installed here. */
import { access, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ErrnoError } from '../src/lib/errno.ts'
import { debianMirrors, readAptSources } from './apt-sources.ts'
import { execute } from './execute.ts'

/** Where Debian and its derivatives keep the keys that sign the archive; the first that exists is used. */
const KEYRINGS = [
  '/usr/share/keyrings/debian-archive-keyring.pgp',
  '/usr/share/keyrings/debian-archive-keyring.gpg',
]

const PROGRESS_MS = 1000

export interface Download {
  readonly suite: string
  readonly packages: readonly string[]
  /** Whether to take along all that they depend on. */
  readonly dependencies: boolean
}

export interface PackageList {
  readonly count: number
  /** Of all packages as they are downloaded, bytes. */
  readonly size: number
}

export class Apt {
  readonly #directory: string
  readonly #signal: AbortSignal | undefined
  readonly #keyring: string
  readonly #mirrors: string[]

  private constructor(directory: string, keyring: string, mirrors: string[], signal?: AbortSignal) {
    this.#directory = directory
    this.#keyring = keyring
    this.#mirrors = mirrors
    this.#signal = signal
  }

  /**
   * @param directory for all of apt's files; the caller removes it
   * @throws ENOENT this machine has no apt, no mirror of Debian configured or no keyring
   */
  static async open(directory: string, signal?: AbortSignal): Promise<Apt> {
    if (process.arch !== 'x64') {
      throw new ErrnoError('ENOTSUP', `packages for guests run on x86-64, this is ${process.arch}`)
    }
    for (const program of ['apt-get', 'apt-config', 'dpkg-deb']) await need(program, signal)
    const keyring = await firstExisting(KEYRINGS)
    if (keyring === undefined) {
      throw new ErrnoError(
        'ENOENT',
        `${KEYRINGS.at(-1)}: no such keyring; install the package debian-archive-keyring`,
      )
    }
    const release = await readFile('/etc/os-release', 'utf8').catch(() => '')
    const codename = /^VERSION_CODENAME=(\S+)$/m.exec(release)?.[1] ?? 'stable'
    const configured = process.env['MDEVKIT_DEBIAN_MIRROR']
    const mirrors = configured
      ? [configured]
      : debianMirrors(await readAptSources(signal), codename)
    if (mirrors.length === 0) {
      throw new ErrnoError(
        'ENOENT',
        `apt sources: none is a mirror of Debian's main component for ${codename}; ` +
          'add one to /etc/apt/sources.list.d, or name one in MDEVKIT_DEBIAN_MIRROR',
      )
    }
    for (const part of ['lists/partial', 'archives/partial']) {
      await mkdir(join(directory, part), { recursive: true })
    }
    await writeFile(join(directory, 'status'), '')
    await writeFile(join(directory, 'apt.conf'), configuration(directory))
    return new Apt(directory, keyring, mirrors, signal)
  }

  /** The mirror in use. */
  get mirror(): string {
    return this.#mirrors[0]!
  }

  /**
   * Fetches the package lists of these suites, from the first mirror that has them all.
   *
   * @throws ENOENT no mirror has them; the message has the complaint about the likeliest one
   */
  async update(suites: readonly string[]): Promise<void> {
    let first: unknown
    for (const mirror of this.#mirrors) {
      const lines = suites.map(
        (suite) => `deb [signed-by=${this.#keyring} target=Packages] ${mirror} ${suite} main\n`,
      )
      await writeFile(join(this.#directory, 'sources.list'), lines.join(''))
      try {
        await this.#apt('apt-get', ['update', '-q', '-o', 'APT::Update::Error-Mode=any'])
        this.#mirrors.splice(0, this.#mirrors.length, mirror)
        return
      } catch (error) {
        this.#signal?.throwIfAborted()
        first ??= error
      }
    }
    const why = first instanceof Error ? first.message : String(first)
    throw new ErrnoError(
      'ENOENT',
      `Debian ${suites.join(', ')} at ${this.mirror}: ${why}; ` +
        'check the network and the proxy that apt uses, or name a mirror in MDEVKIT_DEBIAN_MIRROR',
      { cause: first },
    )
  }

  /** The version of a package in a suite, if it is there. */
  async version(name: string, suite: string): Promise<string | undefined> {
    const table = await this.#apt('apt-cache', ['madison', name])
    const rows = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()))
    return rows.find((row) => row[2]?.includes(` ${suite}/main `))?.[1]
  }

  /** The first package that `name` depends on: what stands behind a package without content of its own. */
  async dependency(name: string, suite: string): Promise<string> {
    const output = await this.#apt('apt-cache', ['-t', suite, 'depends', name])
    const found = /^\s*Depends: (\S+)$/m.exec(output)?.[1]
    if (found === undefined) {
      throw new ErrnoError('ENOENT', `Debian package ${name}: depends on nothing in ${suite}`)
    }
    return found
  }

  /** How much {@link Apt.download} would fetch. */
  async plan(download: Download): Promise<PackageList> {
    const output = await this.#apt('apt-get', ['--print-uris', ...command(download)])
    const sizes = [...output.matchAll(/^'\S+' \S+ (\d+)/gm)].map((match) => Number(match[1]))
    return { count: sizes.length, size: sizes.reduce((sum, size) => sum + size, 0) }
  }

  /**
   * Fetches packages and returns their files, which the caller removes.
   *
   * @param onProgress told now and then how many bytes have come
   */
  async download(download: Download, onProgress: (bytes: number) => void): Promise<string[]> {
    const archives = join(this.#directory, 'archives')
    // apt tells its progress to terminals only; the files say it too
    const timer = setInterval(
      () => void sizeBelow(archives).then(onProgress, () => {}),
      PROGRESS_MS,
    )
    try {
      await this.#apt('apt-get', command(download), archives) // `apt-get download` writes to where it runs
    } finally {
      clearInterval(timer)
    }
    const names = await readdir(archives)
    return names.filter((name) => name.endsWith('.deb')).map((name) => join(archives, name))
  }

  async #apt(program: string, args: readonly string[], cwd = this.#directory): Promise<string> {
    const config = ['-c', join(this.#directory, 'apt.conf')]
    const output = await execute(program, [...config, ...args], { cwd, signal: this.#signal })
    return output.toString()
  }
}

function command({ suite, packages, dependencies }: Download): string[] {
  const common = ['-q', '-t', suite]
  return dependencies
    ? [...common, '-y', '--no-install-recommends', '--download-only', 'install', ...packages]
    : [...common, 'download', ...packages]
}

/**
 * Read after the machine's own configuration, of which proxies and credentials stay. Lists have to be cleared before
 * they are set; hooks are cleared because they act on the system, as the one that Docker images bring.
 */
function configuration(directory: string): string {
  const path = (name: string) => `"${join(directory, name)}"`
  return `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
#clear APT::Architectures;
#clear Acquire::Languages;
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root"; // the default user could not write here
Acquire::Languages { "none"; };
Acquire::Retries "3";
Dir::Etc::SourceList ${path('sources.list')};
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State ${path('.')};
Dir::State::Lists ${path('lists')};
Dir::State::status ${path('status')};
Dir::Cache ${path('.')};
Dir::Cache::Archives ${path('archives')};
Dir::Log ${path('.')};
`
}

/** Bytes of all files below a directory, some of which may vanish meanwhile. */
async function sizeBelow(directory: string): Promise<number> {
  const names = await readdir(directory, { recursive: true })
  const sizes = names.map(async (name) => {
    const about = await stat(join(directory, name)).catch(() => undefined)
    return about?.isFile() ? about.size : 0
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

async function need(program: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await execute(program, ['--version'], { signal })
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error
    throw new ErrnoError(
      'ENOENT',
      `${program}: not found; guests are prepared from Debian packages, which takes a machine with apt and dpkg`,
      { cause: error },
    )
  }
}

async function firstExisting(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) {
    const there = await access(file).then(
      () => true,
      () => false,
    )
    if (there) return file
  }
  return undefined
}
