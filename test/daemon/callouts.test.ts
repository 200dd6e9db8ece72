/** mdevctl's scripts around what is asked of the daemon, over its API and by autostart. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseConfig } from '../../src/daemon/config.ts'
import { Callouts } from '../../src/daemon/callouts.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { choice } from '../../src/mdev/attribute.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { driverOf, probeNothing, uuid } from '../mdev/support.ts'
import { Scratch } from '../support/scratch.ts'
import { Bench } from './bench.ts'

const U = uuid(1)
const KEY = { parent: 'a', uuid: U }
const MANUAL = { type: 'test-1', start: 'manual', attributes: [] } as const
const AUTO = { ...MANUAL, start: 'auto' } as const
const JSON_MANUAL = '{"mdev_type":"test-1","start":"manual","attrs":[]}'
const JSON_AUTO = JSON_MANUAL.replace('manual', 'auto')
/** Whose settings can change in use. */
const LIVE = driverOf({
  attributes: {
    pace: choice(['slow', 'fast'], { default: 'slow', description: '', change: 'live' }),
  },
  probe: (mdev) => ({ ...probeNothing(mdev), changeAttributes: () => {} }),
})

class ScriptBench extends Bench {
  readonly #log = join(this.scratch.path, 'log')

  /** A daemon with a script that knows every device, and a notifier; and a parent `a`. */
  static async start(driver: Driver = driverOf()): Promise<ScriptBench> {
    const bench = new ScriptBench()
    const log = `>> ${bench.#log}`
    bench.script(
      'callouts/all.sh',
      `IN=$(cat); [ "$6" = capabilities ] && exit 0\necho "$4 $6 $8 $IN" ${log}\n[ ! -e ${bench.#refusal} ] || { echo no >&2; exit 5; }`,
    )
    bench.script('notifiers/note.sh', `echo "$4 $6 $8" ${log}`)
    await bench.restarted()
    bench.host('a', driver)
    for await (const event of bench.client.events())
      if (event.action === 'snapshot' ? event.parents.length > 0 : 'view' in event) break
    return bench
  }

  async restarted(): Promise<void> {
    await this.daemon(parseConfig('scripts = ["scripts.d"]', join(this.scratch.path, 'x.toml')))
  }

  get #refusal(): string {
    return join(this.scratch.path, 'refuses')
  }

  script(name: string, body: string): void {
    chmodSync(this.scratch.write(join('scripts.d', name), `#!/bin/sh\n${body}\n`), 0o755)
  }

  /** Whether the script refuses from now on. */
  refuses(is: boolean): void {
    if (is) this.scratch.write('refuses', '')
    else rmSync(this.#refusal)
  }

  /** What scripts have been told since the last call. */
  told(): string[] {
    if (!existsSync(this.#log)) return []
    const lines = readFileSync(this.#log, 'utf8').trim().split('\n')
    rmSync(this.#log)
    return lines
  }
}

function around(action: string, input: string): readonly string[] {
  return [
    `pre ${action} none ${input}`,
    `post ${action} success ${input}`,
    `notify ${action} success`,
  ]
}

const REFUSED = { code: 'ECANCELED', message: /^Script '".*\/all\.sh"' failed with status '5'$/ }

describe('scripts around what is asked over the API', () => {
  test('hear of each thing that is done, before and after', async () => {
    await using bench = await ScriptBench.start()
    const { client } = bench
    for (const [ask, expected] of [
      [async () => client.define(KEY, MANUAL), around('define', JSON_MANUAL)],
      [async () => client.define(KEY, AUTO, { replace: true }), around('modify', JSON_AUTO)],
      [async () => client.start({ uuid: U }), around('start', JSON_AUTO)],
      [async () => client.stop(U), around('stop', JSON_MANUAL)],
      [async () => client.undefine(U), around('undefine', JSON_AUTO)],
      [
        async () => client.start({ parent: 'a', type: 'test-1', uuid: U }),
        around('start', JSON_MANUAL),
      ],
    ] as const) {
      await ask()
      assert.deepEqual(bench.told(), expected)
    }
  })

  test('hear of what is refused that they have let pass; of what nobody could do they hear nothing', async () => {
    await using bench = await ScriptBench.start()
    const { client } = bench
    await client.start({ parent: 'a', type: 'test-1', uuid: U })
    bench.told()
    await assert.rejects(client.start({ parent: 'a', type: 'test-1', uuid: U }), { code: 'EEXIST' })
    assert.deepEqual(bench.told().slice(1), [
      `post start failure ${JSON_MANUAL}`,
      'notify start failure',
    ])
    await assert.rejects(client.stop(uuid(2)), { code: 'ENOENT' })
    await assert.rejects(client.undefine(U), { code: 'ENOENT' })
    await assert.rejects(client.start({ parent: 'a' }), { code: 'EINVAL' })
    await assert.rejects(client.define({ parent: '..', uuid: U }, MANUAL), { code: 'EINVAL' })
    const libvirt = new ApiClient(apiSocket(bench.root), { owner: 'libvirt' })
    await assert.rejects(libvirt.stop(U), { code: 'EPERM' })
    assert.deepEqual(bench.told(), [])
  })

  test('that refuse keep it from being done with ECANCELED, unless it is taken over', async () => {
    await using bench = await ScriptBench.start()
    const { client } = bench
    await client.define(KEY, MANUAL)
    await client.start({ uuid: uuid(2), parent: 'a', type: 'test-1' })
    const before = await client.list()
    bench.told()
    bench.refuses(true)
    for (const [action, ask] of [
      ['define', async () => client.define({ ...KEY, parent: 'b' }, MANUAL)],
      ['modify', async () => client.define(KEY, AUTO, { replace: true })],
      ['start', async () => client.start({ uuid: U })],
      ['stop', async () => client.stop(uuid(2))],
      ['undefine', async () => client.undefine(U)],
    ] as const) {
      await assert.rejects(ask(), REFUSED)
      assert.equal(bench.told().at(-1), `notify ${action} none`)
      assert.deepEqual(await client.list(), before)
    }
    await client.stop(uuid(2), { takeOver: true })
    await client.undefine(U, undefined, { takeOver: true })
    assert.deepEqual((await client.list()).mdevs, [])
  })

  test('are told of a live change where they say that they want to be', async () => {
    await using bench = await ScriptBench.start(LIVE)
    const { client } = bench
    await client.start({ parent: 'a', type: 'test-1', uuid: U })
    bench.told()
    await client.change(U, [['pace', 'fast']])
    assert.deepEqual(bench.told(), []) // no script has said so
    const supports = '{"supports":{"version":2,"actions":["modify","stop"],"events":["live"]}}'
    const log = join(bench.scratch.path, 'log')
    const [ask, live] = [`echo '${supports}'; exit 0`, `{ echo "$4 $(cat)" >> ${log}; exit 0; }`]
    bench.script(
      'callouts/all.sh',
      `[ "$6" = capabilities ] && { ${ask}; }\n[ "$4" = live ] && ${live}\nexit 3`,
    )
    await client.change(U, [['pace', 'slow']])
    const input = JSON_MANUAL.replace('[]', '[{"pace":"slow"}]')
    assert.deepEqual(bench.told(), [`live ${input}`, 'notify modify none'])
    bench.script('callouts/all.sh', `[ "$6" = capabilities ] && { ${ask}; }\nexit 3`)
    await assert.rejects(client.change(U, [['pace', 'fast']]), { code: 'ECANCELED' })
    assert.deepEqual((await client.find(U))[0]?.active?.attributes, [['pace', 'slow']])
  })

  test('are not run for a tool that runs them itself', async () => {
    await using bench = await ScriptBench.start()
    const client = new ApiClient(apiSocket(bench.root), { runsScripts: true })
    await client.define(KEY, MANUAL)
    await client.start({ uuid: U })
    await client.stop(U)
    await client.undefine(U)
    assert.deepEqual(bench.told(), [])
  })

  test('get every name as one word, whatever is in it', async () => {
    await using bench = await ScriptBench.start()
    const words = join(bench.scratch.path, 'words')
    bench.script(
      'callouts/all.sh',
      `[ "$6" = capabilities ] || printf '<%s>' "$@" >> ${words}\nexit 2`,
    )
    const type = `a b;touch ${words}.x $(touch ${words}.y) "'\n*`
    await bench.client.define({ parent: '$(id) p', uuid: U }, { ...MANUAL, type })
    const told = `<-t><${type}><-e><pre><-a><define><-s><none><-u><${U}><-p><$(id) p>`
    assert.equal(
      readFileSync(words, 'utf8'),
      told + told.replace('pre', 'post').replace('none', 'success'),
    )
    assert.deepEqual([existsSync(`${words}.x`), existsSync(`${words}.y`)], [false, false])
    bench.script('callouts/all.sh', 'exit 0')
    const refused = bench.client.define({ parent: 'a', uuid: U }, { ...MANUAL, type: 'a\0b' })
    await assert.rejects(refused, { code: 'ECANCELED', message: /status '255'/ })
  })
})

describe('scripts around autostart', () => {
  test('are run, and what they refuse waits and says why', async () => {
    await using bench = new ScriptBench()
    bench.script('callouts/all.sh', `[ "$6" = capabilities ] || exit 5`)
    bench.store.write(KEY, AUTO)
    await bench.restarted()
    bench.host('a')
    for (;;) {
      const [mdev] = (await bench.client.list()).mdevs
      assert.equal(mdev?.active, undefined)
      if (mdev?.waits?.startsWith('ECANCELED: Script ') === true) break
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  })

  test('hear of it as of a start', async () => {
    await using bench = await ScriptBench.start()
    bench.store.write({ parent: 'b', uuid: U }, AUTO)
    const events = bench.client.events()
    await events.next()
    bench.host('b')
    for await (const { action } of events) if (action === 'bind') break
    while (!existsSync(join(bench.scratch.path, 'log')))
      await new Promise((resolve) => setTimeout(resolve, 20))
    assert.equal(bench.told()[0], `pre start none ${JSON_AUTO}`)
  })
})

describe('Callouts', () => {
  const DEVICE = { ...KEY, definition: MANUAL }

  function calloutsIn(scratch: Scratch, body: string, lines: string[] = []): Callouts {
    chmodSync(scratch.write('callouts/one', `#!/bin/sh\n${body}\n`), 0o755)
    const onLine = (_script: string, line: string) => void lines.push(line)
    return new Callouts({ directories: [scratch.path], onForced: () => {}, onLine })
  }

  test('run eight scripts at a time, however many mdevs there are', async () => {
    using scratch = new Scratch()
    const log = join(scratch.path, 'log')
    const callouts = calloutsIn(scratch, `echo + >> ${log}; sleep 0.05; echo - >> ${log}; exit 2`)
    const results = await Promise.all(
      Array.from({ length: 30 }, async (_, number) =>
        callouts.around('stop', DEVICE, false, async () => number),
      ),
    )
    assert.equal(results.length, 30)
    let [running, most] = [0, 0]
    for (const line of readFileSync(log, 'utf8').trim().split('\n')) {
      running += line === '+' ? 1 : -1
      most = Math.max(most, running)
    }
    assert.deepEqual([running, most <= 8], [0, true])
  })

  test('read the beginning of what a script says, and let it say the rest', async () => {
    using scratch = new Scratch()
    const lines: string[] = []
    const callouts = calloutsIn(
      scratch,
      'head -c 10000000 /dev/zero | tr "\\0" x >&2; exit 2',
      lines,
    )
    assert.equal(await callouts.around('stop', DEVICE, false, async () => 'done'), 'done')
    assert.deepEqual(new Set(lines.map((line) => line.length)), new Set([65_536]))
  })
})
