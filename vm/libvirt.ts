/** A libvirt daemon of a prepared root, alone in its own namespaces, and virsh to speak with it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describeError, ErrnoError } from '../src/lib/errno.ts'
import { execute } from './execute.ts'
import { preparedProgram } from './prepared-program.ts'

export interface LibvirtOptions {
  /** Of {@link libvirtRoot}. */
  readonly root: string
  /** A directory of ours for its run-time files and for what it keeps. */
  readonly scratch: string
  /** Directories that it and its machines see at the same places: kernels, disks, sockets. */
  readonly visible: readonly string[]
}

const START_MS = 60_000
const LAST_LINES = 10

/** Run by a shell in new namespaces: nothing of it is left once its first process has ended. */
const SCRIPT = `
set -e
root=$1; scratch=$2; shift 2
mount -t tmpfs tmpfs "$scratch/upper"
mkdir "$scratch/upper/u" "$scratch/upper/w"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$scratch/upper/u,workdir=$scratch/upper/w" "$scratch/root"
root=$scratch/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$scratch/run" "$root/run"
for path; do mkdir -p "$root$path"; mount --rbind "$path" "$root$path"; done
# not by exec: the first process of a namespace has to take in those whose parents are gone
chroot "$root" /usr/sbin/libvirtd
exit $?
`

export class Libvirt implements AsyncDisposable {
  readonly #options: LibvirtOptions
  readonly #daemon: ChildProcess
  #said = ''

  private constructor(options: LibvirtOptions) {
    const { root, scratch, visible } = options
    for (const name of ['run', 'upper', 'root']) mkdirSync(join(scratch, name))
    this.#options = options
    this.#daemon = spawn(
      'unshare',
      ['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private'].concat(
        ['sh', '-c', SCRIPT, 'libvirt', root, scratch],
        visible,
      ),
      { env: { ...process.env, LC_ALL: 'C' }, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    for (const stream of [this.#daemon.stdout!, this.#daemon.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => void (this.#said += text))
  }

  /** @throws EIO it ends, with what it said; ETIMEDOUT */
  static async start(options: LibvirtOptions): Promise<Libvirt> {
    const libvirt = new Libvirt(options)
    const until = performance.now() + START_MS
    while (!existsSync(libvirt.#socket)) {
      const { exitCode, signalCode } = libvirt.#daemon
      if (exitCode !== null || signalCode !== null)
        throw new ErrnoError('EIO', `libvirtd: ended with ${exitCode}: ${libvirt.#said}`)
      if (performance.now() > until)
        throw new ErrnoError('ETIMEDOUT', `libvirtd: not there yet: ${libvirt.#said}`)
      await delay(50)
    }
    return libvirt
  }

  /** What virsh prints. @throws EIO it fails, with what the daemon has said of it */
  async virsh(...args: readonly string[]): Promise<string> {
    const [program, ...before] = preparedProgram(this.#options.root, 'usr/bin/virsh')
    const uri = `qemu+unix:///system?socket=${this.#socket}`
    const env = { LC_ALL: 'C' }
    try {
      return (await execute(program, [...before, '-q', '-c', uri, ...args], { env })).toString()
    } catch (error) {
      const said = this.#said.trim().split('\n').slice(-LAST_LINES).join('\n')
      throw new ErrnoError('EIO', `virsh ${args[0]}: ${describeError(error)}\n${said}`)
    }
  }

  get #socket(): string {
    return join(this.#options.scratch, 'run/libvirt/libvirt-sock')
  }

  /** Ends it, and with it its machines. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#daemon.exitCode !== null || this.#daemon.signalCode !== null) return
    this.#daemon.kill('SIGKILL') // its namespace goes with it
    await once(this.#daemon, 'exit')
  }
}
