/**
 * The kernel's transcript over the command line: by mdevctl's verbs and by libvirt's, each refusal with the kernel's errno by name
 * and the exit code that docs/cli.md has for it. The API and its hosts are behind it.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { failureOf } from '../../src/cli/failure.ts'
import { createProgram } from '../../src/cli/program.ts'
import { type ErrnoCode, ErrnoError } from '../../src/lib/errno.ts'
import type { AttributeTexts } from '../../src/mdev/attribute.ts'
import { ApiSurface } from '../http/api-surface.ts'
import { Api } from '../http/support.ts'
import { TRANSCRIPT_CASES } from '../mdev/transcript-cases.ts'
import { Player } from '../mdev/transcript-player.ts'
import { cli } from './cli.ts'

/** docs/cli.md, "Exit codes". EINVAL is wrong usage where the option itself says so. */
const EXIT_CODES: Readonly<Record<string, readonly number[]>> = {
  ENOENT: [3],
  ENODEV: [3],
  ENXIO: [3],
  EEXIST: [4],
  ENOSPC: [5],
  EUSERS: [5],
  EBUSY: [6],
  EAGAIN: [6],
  EACCES: [7],
  EINVAL: [1, 2],
  EIO: [1],
}

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** As an administrator has it who knows mdevctl. */
class VerbSurface extends ApiSurface {
  #files = 0

  static override async start(): Promise<VerbSurface> {
    return new VerbSurface(await Api.start()).listening()
  }

  /** mdevctl takes more spellings of a UUID than the kernel, and hands on the kernel's. */
  reads(uuid: string): boolean {
    return /^(?:\{[-0-9a-f]{36}\}|urn:uuid:[-0-9a-f]{36}|[0-9a-f]{32})$/.test(uuid)
  }

  override async create(
    parent: string,
    type: string,
    uuid: string,
    attributes: AttributeTexts,
  ): Promise<void> {
    const what =
      attributes.length === 0 ? ['-t', type] : ['--jsonfile', this.#json(type, attributes)]
    assert.equal(await this.told('start', '-u', uuid, '-p', parent, ...what), '')
  }

  /** `stop` waits for the client, as mdevctl's does; `nodedev destroy` does not. */
  override async remove(
    uuid: string,
    { wait = false }: { readonly wait?: boolean } = {},
  ): Promise<void> {
    const views = await this.client.find(uuid)
    const { active } = views[0] ?? {}
    const waits = active !== undefined && (active.client !== undefined || active.state !== 'active')
    if (wait || !waits) assert.equal(await this.told('stop', '-u', uuid), '')
    else await this.destroy(uuid, active.parent)
  }

  /** `modify --live` takes all of them. */
  override async change(uuid: string, attributes: AttributeTexts): Promise<void> {
    const views = await this.client.find(uuid)
    const { type = 'none', attributes: before = [] } = views[0]?.active ?? {}
    const changed = new Map(attributes)
    const kept = before.filter(([name]) => !changed.has(name))
    const file = this.#json(type, [...kept, ...attributes])
    assert.equal(await this.told('modify', '-u', uuid, '--live', '--jsonfile', file), '')
  }

  override async available(name: string): Promise<Readonly<Record<string, number>> | undefined> {
    const parents = JSON.parse(await this.told('types', '-o', 'json')) as {
      readonly name: string
      readonly types: readonly { readonly name: string; readonly availableInstances: number }[]
    }[]
    const parent = parents.find((each) => each.name === name)
    return (
      parent && Object.fromEntries(parent.types.map((type) => [type.name, type.availableInstances]))
    )
  }

  override async mdevs(): Promise<readonly string[]> {
    const { mdevs } = JSON.parse(await this.told('list', '-o', 'json')) as {
      readonly mdevs: readonly {
        readonly uuid: string
        readonly active?: { readonly state: string }
      }[]
    }
    return mdevs
      .filter(({ active }) => active?.state === 'active')
      .map(({ uuid }) => uuid)
      .toSorted()
  }

  protected async destroy(uuid: string, parent: string): Promise<void> {
    const name = `mdev_${uuid.replaceAll('-', '_')}_${parent.replaceAll(/\W/g, '_')}`
    await this.told('nodedev', 'destroy', name)
  }

  protected file(text: string): string {
    const path = join(this.directory, `file-${this.#files++}`)
    writeFileSync(path, text)
    return path
  }

  #json(type: string, attributes: AttributeTexts): string {
    const attrs = attributes.map(([name, value]) => ({ [name]: value }))
    return this.file(JSON.stringify({ mdev_type: type, start: 'manual', attrs }))
  }

  /** What a command prints. @throws what it refuses, by the errno that it names */
  protected async told(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(args)
    if (code === 0) {
      assert.equal(stderr, '')
      return stdout
    }
    assert.equal(stdout, '')
    const names = new Set(stderr.match(/\bE[A-Z]{2,}\b/g))
    assert.equal(names.size, 1, `names one errno: ${stderr}`)
    const [errno = ''] = names
    assert.ok(EXIT_CODES[errno]?.includes(code ?? 0), `exit code ${code}: ${stderr}`)
    assert.match(stderr, /\nhint: [^\n]+\n$/)
    throw new ErrnoError(errno as ErrnoCode, stderr)
  }

  /** In this process: a start of one takes as long as all else. */
  protected async run(args: readonly string[]): Promise<Ended> {
    const said = { stdout: '', stderr: '' }
    const program = createProgram({
      plane: this.client,
      scriptedPlane: this.client,
      sysfs: '/nowhere',
      version: '1',
      asMdevctl: false,
      calloutDirectories: [],
      out: (text) => void (said.stdout += text),
      err: (text) => void (said.stderr += text),
    })
    try {
      await program.parseAsync(args, { from: 'user' })
      return { ...said, code: 0 }
    } catch (error) {
      const { text, exitCode } = failureOf(error, args[0] ?? '', false)
      return { ...said, stderr: said.stderr + text, code: exitCode }
    }
  }
}

/** As one has it who knows virsh. */
class NodedevSurface extends VerbSurface {
  static override async start(): Promise<NodedevSurface> {
    return new NodedevSurface(await Api.start()).listening()
  }

  /** Blanks around a text are none of it in XML, and without a UUID one is made up. */
  override reads(uuid: string): boolean {
    return uuid.trim() === '' || (uuid !== uuid.trim() && /^[-0-9a-f]{36}$/.test(uuid.trim()))
  }

  override async create(
    parent: string,
    type: string,
    uuid: string,
    attributes: AttributeTexts,
  ): Promise<void> {
    const driver = type.replace(/-[^-]*$/, '')
    const attrs = attributes.map(([name, value]) => `<attr name="${name}" value="${value}"/>`)
    const capability = `<type id="${type}"/><uuid>${uuid}</uuid>${attrs.join('')}`
    const file = this.file(
      `<device><parent>${driver}_${parent.replaceAll(/\W/g, '_')}</parent><capability type="mdev">${capability}</capability></device>`,
    )
    assert.match(await this.told('nodedev', 'create', file), /^Node device mdev_.* created from /)
  }

  override async remove(uuid: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    const [view] = await this.client.find(uuid)
    if (options.wait === true) await super.remove(uuid, options)
    else await this.destroy(uuid, view?.parent ?? 'none')
  }
}

/** In a process of its own each. */
class ProcessSurface extends VerbSurface {
  static override async start(): Promise<ProcessSurface> {
    return new ProcessSurface(await Api.start()).listening()
  }

  protected override async run(args: readonly string[]): Promise<Ended> {
    return cli(args, { root: this.directory, env: { MDEVCTL_ENV_ROOT: this.directory } })
  }
}

const RACES = new Set(['3.6', '3.7', '3.8', '3.9'])
const BY_PROCESS = new Set(['1.7', '2.3', '8.11'])

const DOORS = [
  ["mdevctl's verbs", VerbSurface, TRANSCRIPT_CASES],
  [
    "libvirt's verbs",
    NodedevSurface,
    TRANSCRIPT_CASES.filter(({ section }) => !RACES.has(section)), // they are the machine's
  ],
  [
    'real processes',
    ProcessSurface,
    TRANSCRIPT_CASES.filter(({ section }) => BY_PROCESS.has(section)),
  ],
] as const

for (const [door, Door, cases] of DOORS) {
  describe(`The transcript over ${door}`, () => {
    for (const { section, title, play } of cases) {
      test(`${section}: ${title}`, async () => {
        await using surface = await Door.start()
        await play(new Player(surface))
      })
    }
  })
}
