/** The daemon's configuration: what each key means, and that nothing wrong in it is passed over. */
import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { configPath, loadConfig, parseConfig } from '../../src/daemon/config.ts'
import { Scratch } from '../support/scratch.ts'

const TOKEN = '0123456789abcdef0123456789abcdef'

describe('parseConfig()', () => {
  test('of nothing is a daemon for its own user, without parents', () => {
    assert.deepEqual(parseConfig('', '/etc/x.toml'), {
      sysfs: true,
      api: { mode: 0o600, admin: [], read: [] },
      parents: new Map(),
      quotas: { parents: new Map(), owners: new Map() },
    })
  })

  test('takes every key, and paths from where the file is', () => {
    const text = `
      definitions = "defined"
      sysfs = false
      [api]
      mode = 0o666
      group = 7
      admin = [1000]
      read = "everyone"
      [parents.serial]
      driver = "mtty"
      max-mdevs = 9
      cpu = "50%"
      memory = "512M"
      user = "nobody"
      group = 7
      capabilities = ["net_admin"]
      [owners.libvirt]
      max-mdevs = 0
      [parents."0000:00:05.0"]
      driver = "./card.ts"
      settings = { image = "disk.img", slots = 4, direct = true }
    `
    const memory = 512 * 1024 * 1024
    const launch = { cpu: 50, memory, user: 'nobody', group: 7, capabilities: ['net_admin'] }
    assert.deepEqual(parseConfig(text, '/etc/mdevkit/x.toml'), {
      definitions: '/etc/mdevkit/defined',
      sysfs: false,
      api: { mode: 0o666, group: 7, admin: [1000], read: 'everyone' },
      parents: new Map([
        ['serial', { driver: 'mtty', directory: '/etc/mdevkit', launch }],
        [
          '0000:00:05.0',
          {
            driver: '/etc/mdevkit/card.ts',
            directory: '/etc/mdevkit',
            settings: [
              ['image', 'disk.img'],
              ['slots', '4'],
              ['direct', 'true'],
            ],
            launch: {},
          },
        ],
      ]),
      quotas: { parents: new Map([['serial', 9]]), owners: new Map([['libvirt', 0]]) },
    })
  })

  for (const [text, message] of [
    ['a b', /^\/etc\/x\.toml: line 1: /],
    ['sysfs = true\n\n[parents.x\n', /^\/etc\/x\.toml: line 3: /],
    ['sysfs = "yes"', /x\.toml: sysfs: /],
    ['parent = 1', /x\.toml: parent: not known here/],
    ['[api]\nmod = 1', /x\.toml: api\.mod: not known here/],
    ['[api]\nmode = "0666"', /x\.toml: api\.mode: /],
    ['[api]\nread = "all"', /x\.toml: api\.read: /],
    ['[api]\nadmin = ["alice"]', /x\.toml: api\.admin\.0: /],
    ['[api.tcp]\nport = 80', /x\.toml: api\.tcp: /], // without a token
    ['[api.tcp]\nport = 65536\ntoken-file = "x"', /x\.toml: api\.tcp\.port: /],
    ['[owners.x]\nmax-mdevs = -1', /x\.toml: owners\.x\.max-mdevs: /],
    ['[parents.a]\ndriver = "b"\nsettings = { c = [] }', /x\.toml: parents\.a\.settings\.c: /],
    ['[parents.x]\ndriver = "mtty"\ncpu = "half"', /x\.toml: parents\.x\.cpu: /],
    ['[parents.x]\ndriver = "mtty"\nmemory = "lots"', /x\.toml: parents\.x\.memory: /],
    ['[parents.serial]', /x\.toml: parents\.serial: /],
    ['[parents."../x"]\ndriver = "mtty"', /x\.toml: parents/],
  ] as const) {
    test(`refuses ${JSON.stringify(text)} with EINVAL, naming what is wrong`, () => {
      assert.throws(() => parseConfig(text, '/etc/x.toml'), { code: 'EINVAL', message })
    })
  }
})

describe('loadConfig()', () => {
  test('takes tokens from files that nobody else may read', () => {
    using scratch = new Scratch()
    const token = scratch.write('token', `${TOKEN}\n`)
    chmodSync(token, 0o600)
    const file = scratch.write('x.toml', '[api.tcp]\nport = 0\ntoken-file = "token"')
    const tcp = { host: '127.0.0.1', port: 0, tokens: { admin: TOKEN } }
    assert.deepEqual(loadConfig(file).api.tcp, tcp)
    chmodSync(token, 0o640)
    assert.throws(() => loadConfig(file), { code: 'EPERM', message: /others may read it/ })
  })

  test('refuses a file that is not there with ENOENT', () => {
    using scratch = new Scratch()
    assert.throws(() => loadConfig(join(scratch.path, 'x.toml')), { code: 'ENOENT' })
  })
})

test('configPath() is below XDG_CONFIG_HOME for users, in /etc for root', () => {
  const expected = process.geteuid?.() === 0 ? '/etc' : '/home/x/conf'
  assert.equal(configPath({ XDG_CONFIG_HOME: '/home/x/conf' }), `${expected}/mdevkit/mdevkit.toml`)
})
