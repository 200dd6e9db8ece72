/** Callout and notifier scripts around mdevctl's verbs. Sections are of mdevctl's transcript. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Callouts } from '../../src/daemon/callouts.ts'
import { Daemon } from '../daemon/support.ts'
import { startParents } from './mdevctl-machine.ts'
import { mdevctl, type Played } from './mdevctl-player.ts'

const U = '00000001-0000-4000-8000-000000000001'
const DEVICE = '{"mdev_type":"mprobe-one","start":"manual","attrs":[]}'
const WORDS =
  'while [ $# -gt 0 ]; do case $1 in -t) T=$2;; -e) E=$2;; -a) A=$2;; -s) S=$2;; esac; shift 2; done'

class Bench implements Disposable {
  readonly daemon = new Daemon()
  readonly #root = join(this.daemon.scratch.path, 'scripts.d')
  readonly #log = join(this.daemon.scratch.path, 'log')

  /** The three callouts and the notifier of 8.17. */
  static async start(): Promise<Bench> {
    const bench = new Bench()
    await startParents(bench.daemon, ['mprobe-a', 'mtty'])
    const { path } = bench.daemon.scratch
    const log = (name: string) =>
      `IN=$(cat); ${WORDS}\n[ $A = capabilities ] || echo "${name}: $E $A $S [$IN]" >> ${bench.#log}`
    bench.script('callouts/10-log.sh', `${log('10-log')}\nexit 2`)
    bench.script(
      'callouts/20-mprobe.sh',
      `${log('20-mprobe')}
case $T in mprobe-*) ;; *) exit 2;; esac
[ -e ${path}/fail-$E-$A ] && { echo "refusing $E $A" >&2; exit $(cat ${path}/fail-$E-$A); }
exit 0`,
    )
    bench.script('callouts/30-late.sh', `${log('30-late')}\nexit 2`)
    bench.script('notifiers/note.sh', log('notifier'))
    return bench
  }

  script(name: string, body: string, mode = 0o755): string {
    const file = this.daemon.scratch.write(join('scripts.d', name), `#!/bin/sh\n${body}\n`)
    chmodSync(file, mode)
    return file
  }

  fail(event: string, action: string, status: number): void {
    this.daemon.scratch.write(`fail-${event}-${action}`, `${status}`)
  }

  async run(...args: string[]): Promise<Played> {
    return mdevctl(args, this.daemon.machine, [this.#root])
  }

  /** What scripts have been told since the last call. */
  told(): string[] {
    if (!existsSync(this.#log)) return []
    const lines = readFileSync(this.#log, 'utf8').trim().split('\n')
    rmSync(this.#log)
    return lines
  }

  [Symbol.dispose](): void {
    this.daemon[Symbol.dispose]()
  }
}

describe('callout scripts', () => {
  test('are asked until one knows the type, which alone is told the end; notifiers are told all (8.17)', async () => {
    using bench = await Bench.start()
    const around = (action: string, input = DEVICE) => [
      `10-log: pre ${action} none [${input}]`,
      `20-mprobe: pre ${action} none [${input}]`,
      `20-mprobe: post ${action} success [${input}]`,
      `notifier: notify ${action} success []`,
    ]
    const changed = DEVICE.replace('[]', '[{"assign":"v"}]')
    for (const [args, expected] of [
      [['define', '-u', U, '-p', 'mprobe-a', '-t', 'mprobe-one'], around('define')],
      [['modify', '-u', U, '--addattr', 'assign', '--value', 'v'], around('modify', changed)],
      [['start', '-u', U], around('start', changed)],
      [['stop', '-u', U], around('stop')],
      [['undefine', '-u', U], around('undefine', changed)],
    ] as const) {
      assert.equal((await bench.run(...args)).code, 0)
      assert.deepEqual(bench.told(), expected)
    }
  })

  test('that do not know a type are all asked, for each event (8.17)', async () => {
    using bench = await Bench.start()
    await bench.run('start', '-u', U, '-p', 'mtty', '-t', 'mtty-1')
    assert.deepEqual(
      bench.told().map((line) => line.replace(/ \[.*/, '')),
      [
        ...['10-log', '20-mprobe', '30-late'].map((name) => `${name}: pre start none`),
        ...['10-log', '20-mprobe', '30-late'].map((name) => `${name}: post start success`),
        'notifier: notify start success',
      ],
    )
  })

  test('that refuse keep the command from being run, unless it is forced (8.17)', async () => {
    using bench = await Bench.start()
    await bench.run('define', '-u', U, '-p', 'mprobe-a', '-t', 'mprobe-one')
    bench.fail('pre', 'start', 7)
    bench.told()
    const refused = await bench.run('start', '-u', U)
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /^20-mprobe\.sh: refusing pre start\nError: Script '".*20-mprobe\.sh"' failed with status '7'\n$/,
    )
    assert.equal(bench.told().at(-1), 'notifier: notify start none []')
    assert.equal((await bench.run('list')).stdout, '')
    const forced = await bench.run('start', '-u', U, '--force')
    assert.match(
      forced.stderr,
      /mdevctl::callouts\] Forcing operation 'start' despite callout failure/,
    )
    assert.equal(forced.code, 0)
    assert.equal(bench.told().at(-1), 'notifier: notify start success []')
    bench.fail('pre', 'undefine', 1)
    const kept = await bench.run('undefine', '-u', U)
    assert.match(kept.stderr, /Undefine of .* on parent mprobe-a failed with error: Script/)
    assert.match(kept.stderr, /\nError: Undefine failed\n$/)
    assert.match((await bench.run('list', '-d')).stdout, /^0000/)
  })

  test('hear of a command that fails; their own failure afterwards is ignored (8.17)', async () => {
    using bench = await Bench.start()
    bench.fail('post', 'start', 1)
    const args = ['start', '-u', U, '-p', 'mprobe-a', '-t', 'mprobe-one']
    assert.equal((await bench.run(...args)).code, 0)
    bench.told()
    const again = await bench.run(...args)
    assert.match(again.stderr, /Error: Device already exists/)
    assert.deepEqual(bench.told().slice(2), [
      `20-mprobe: post start failure [${DEVICE}]`,
      'notifier: notify start failure []',
    ])
  })

  test('that say what they can do are asked nothing else (8.18)', async () => {
    using bench = await Bench.start()
    const supports = JSON.stringify({
      supports: { version: 2, actions: ['start', 'stop'], events: [] },
    })
    bench.script(
      'callouts/40-versioned.sh',
      `${WORDS}\ncase $T in mtty-*) ;; *) exit 2;; esac\n[ $A = capabilities ] && echo '${supports}'\nexit 0`,
    )
    assert.equal((await bench.run('start', '-u', U, '-p', 'mtty', '-t', 'mtty-1')).code, 0)
    assert.deepEqual(bench.told(), ['notifier: notify start success []'])
    const refused = await bench.run('define', '-u', U, '-p', 'mtty', '-t', 'mtty-1')
    assert.match(
      refused.stderr,
      /Error: Script ".*40-versioned\.sh" does not support action 'Define'\n$/,
    )
  })

  test('that know the settings of what is active are asked for them (8.17)', async () => {
    using bench = await Bench.start()
    await bench.run('start', '-u', U, '-p', 'mprobe-a', '-t', 'mprobe-one')
    const { path } = bench.daemon.scratch
    bench.script(
      'callouts/20-mprobe.sh',
      `${WORDS}
case $T in mprobe-*) ;; *) exit 2;; esac
[ -e ${path}/fail-$E-$A ] && exit 1
[ "$E$A" = getattributes ] && printf '[{"assign":"live1"},{"assign":"live2"}]'
exit 0`,
    )
    bench.told()
    const listed = await bench.run('list', '-v')
    assert.equal(
      listed.stdout,
      `${U} mprobe-a mprobe-one manual
  Attrs:
    @{0}: {"assign":"live1"}
    @{1}: {"assign":"live2"}
`,
    )
    assert.equal(bench.told()[0], '10-log: get attributes none []')
    const attrs = [{ assign: 'live1' }, { assign: 'live2' }]
    const dumped = await bench.run('list', '--dumpjson', '-u', U)
    assert.deepEqual(JSON.parse(dumped.stdout), {
      mdev_type: 'mprobe-one',
      start: 'manual',
      attrs,
    })
    assert.equal((await bench.run('define', '-u', U)).code, 0)
    const { attributes } = bench.daemon.definitions.read({ parent: 'mprobe-a', uuid: U })
    assert.deepEqual(attributes, [
      ['assign', 'live1'],
      ['assign', 'live2'],
    ])
    await bench.run('undefine', '-u', U)
    bench.fail('get', 'attributes', 1)
    bench.told()
    const refused = await bench.run('define', '-u', U)
    assert.match(refused.stderr, /^Error: Script '".*20-mprobe\.sh"' failed with status '1'\n$/)
    assert.equal(bench.told().at(-1), 'notifier: notify define failure []')
    assert.equal((await bench.run('list', '-v')).stdout, `${U} mprobe-a mprobe-one manual\n`)
    for (const output of ['nonsense', '{}', '[{"a":1}]']) {
      bench.script('callouts/20-mprobe.sh', `${WORDS}\n[ $E = get ] && echo '${output}'\nexit 0`)
      const { stderr } = await bench.run('define', '-u', U)
      assert.match(stderr, /^Error: Script '".*20-mprobe\.sh"' gave no attributes: .+\n$/)
    }
  })

  test('that say they can do a live change are told of it, and the driver does what it can (8.18)', async () => {
    using bench = await Bench.start()
    await startParents(bench.daemon, ['live'])
    await bench.run('start', '-u', U, '-p', 'live', '-t', 'live-1')
    bench.script(
      'callouts/40-versioned.sh',
      `IN=$(cat)\n${WORDS}\ncase $T in live-*) ;; *) exit 2;; esac
[ $A = capabilities ] && echo '{"supports":{"version":2,"actions":["modify","define","attributes"],"events":["pre","live"]}}' && exit 0
[ -e ${bench.daemon.scratch.path}/fail-$E-$A ] && exit 4
echo "versioned: $E $A $S [$IN]" >> ${join(bench.daemon.scratch.path, 'log')}`,
    )
    const file = bench.daemon.scratch.write(
      'live.json',
      '{"mdev_type":"live-1","start":"manual","attrs":[{"pace":"fast"},{"name":"x"}]}',
    )
    const input = '{"mdev_type":"live-1","start":"manual","attrs":[{"pace":"fast"},{"name":"x"}]}'
    const args = ['modify', '-u', U, '--live', '--jsonfile', file]
    bench.told()
    assert.deepEqual(await bench.run(...args), { stdout: '', stderr: '', code: 0 })
    assert.deepEqual(bench.told(), [
      `versioned: live modify none [${input}]`,
      'notifier: notify modify none []',
    ])
    const [mdev] = await bench.daemon.machine.find(U)
    assert.deepEqual(mdev?.active?.attributes, [['pace', 'fast']]) // `name` is the script's affair
    await bench.daemon.machine.define(
      { parent: 'live', uuid: U },
      { type: 'live-1', start: 'manual', attributes: [] },
    )
    assert.equal((await bench.run(...args, '--defined')).code, 0)
    assert.deepEqual(bench.told(), [
      `versioned: live modify none [${input}]`,
      'notifier: notify modify none []',
      `versioned: pre modify none [${input}]`,
      `versioned: post modify success [${input}]`,
      'notifier: notify modify success []',
    ])
    bench.fail('live', 'modify', 4)
    const refused = await bench.run(...args)
    assert.match(refused.stderr, /^Error: Script '".*40-versioned\.sh"' failed with status '4'\n$/)
  })

  test('that cannot be run are none (8.19); one that does not end, or is no program, has failed', async () => {
    using bench = await Bench.start()
    bench.script('callouts/20-mprobe.sh', 'exit 9', 0o644)
    const args = ['start', '-u', U, '-p', 'mprobe-a', '-t', 'mprobe-one']
    assert.equal((await bench.run(...args)).code, 0)
    const directory = join(bench.daemon.scratch.path, 'slow')
    const script = bench.daemon.scratch.write(
      'slow/callouts/stuck',
      '#!/bin/sh\nsleep 30 &\nexec sleep 1000\n',
    )
    chmodSync(script, 0o755)
    const callouts = new Callouts({
      directories: [directory],
      onForced: () => {},
      onLine: () => {},
      timeoutMs: 50,
    })
    const device = {
      uuid: U,
      parent: 'p',
      definition: { type: 't-1', start: 'manual', attributes: [] },
    } as const
    await assert.rejects(
      callouts.around('start', device, false, async () => 1),
      {
        message: /stuck"' failed with status '255'/,
      },
    )
    bench.script('callouts/05-nothing', '', 0o755)
    bench.daemon.scratch.write('scripts.d/callouts/05-nothing', '#!/no/such/interpreter\n')
    assert.match((await bench.run('stop', '-u', U)).stderr, /05-nothing"' failed with status '255'/)
  })
})
