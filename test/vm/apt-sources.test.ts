/** Finding the Debian mirror among the sources that machines have. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { debianMirrors, parseDeb822, parseList } from '../../vm/apt-sources.ts'

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

test('parseList() reads options, components and comments, and skips sources and comments', () => {
  const sources = parseList(`
# deb http://commented.example/debian bookworm main
deb [ arch=amd64 signed-by=${KEYRING} ] http://mirror.example/debian bookworm main contrib # ours
deb-src http://mirror.example/debian bookworm main
  deb	http://flat.example/repo ./
deb
`)
  assert.deepEqual(sources, [
    {
      uri: 'http://mirror.example/debian',
      suite: 'bookworm',
      components: ['main', 'contrib'],
      signedBy: KEYRING,
    },
    { uri: 'http://flat.example/repo', suite: './', components: [], signedBy: undefined },
  ])
})

test('parseDeb822() multiplies URIs and suites, and skips comments, disabled stanzas and source packages', () => {
  const sources = parseDeb822(`Types: deb deb-src
# a comment amid the stanza
URIs: http://one.example/debian
 http://two.example/debian
suites: trixie trixie-updates
Components: main
Signed-By: ${KEYRING}

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no
\t
Types: deb-src
URIs: http://src.example/debian
Suites: trixie
Components: main

Types: deb
URIs: https://key.example/apt
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----
`)
  const debian = { components: ['main'], signedBy: KEYRING }
  assert.deepEqual(sources, [
    { uri: 'http://one.example/debian', suite: 'trixie', ...debian },
    { uri: 'http://one.example/debian', suite: 'trixie-updates', ...debian },
    { uri: 'http://two.example/debian', suite: 'trixie', ...debian },
    { uri: 'http://two.example/debian', suite: 'trixie-updates', ...debian },
    { uri: 'https://key.example/apt', suite: 'stable', components: ['main'], signedBy: undefined },
  ])
})

test('debianMirrors() finds the mirror among third-party sources, with or without a keyring named', () => {
  const others = parseList(`
deb [signed-by=/usr/share/keyrings/cloud.gpg] https://packages.example/apt cloud-sdk-bookworm main
deb [signed-by=/etc/apt/keyrings/tool.gpg] https://apt.example bookworm main
deb https://download.example/linux/debian bookworm stable
deb http://security.example/debian-security bookworm-security main
deb cdrom:[Debian 12]/ bookworm main
deb https://rpm.example/node nodistro main
`)
  const list = parseList(`
deb http://mirror.example/debian/ bookworm main
deb http://mirror.example/debian/ bookworm-updates main
`)
  assert.deepEqual(debianMirrors([...others, ...list], 'bookworm'), [
    'http://mirror.example/debian/',
    'https://apt.example',
  ])
  const signed = parseDeb822(`Types: deb
URIs: mirror+file:/etc/apt/mirrors/debian.list
Suites: bookworm
Components: main
Signed-By: ${KEYRING}
`)
  assert.equal(
    debianMirrors([...others, ...signed], 'bookworm')[0],
    'mirror+file:/etc/apt/mirrors/debian.list',
  )
})

test('debianMirrors() takes suites that are called by their status', () => {
  const sources = parseList('deb http://mirror.example/debian unstable main')
  assert.deepEqual(debianMirrors(sources, 'forky'), ['http://mirror.example/debian'])
})

test('debianMirrors() finds none among the sources of another distribution', () => {
  const sources = parseDeb822(`Types: deb
URIs: http://archive.example/ubuntu
Suites: noble noble-updates
Components: universe
`)
  assert.deepEqual(debianMirrors(sources, 'noble'), [])
})
