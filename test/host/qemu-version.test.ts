/** Versions as QEMU and Debian write them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseQemuVersion, recentEnough } from '../../src/host/qemu-version.ts'

test('parseQemuVersion() reads the first line of --version', () => {
  const debian = 'QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright (c) …\n'
  assert.equal(parseQemuVersion(debian), '11.1.3')
  assert.equal(parseQemuVersion('QEMU emulator version 10.1\n'), '10.1')
  assert.equal(parseQemuVersion('QEMU emulator version 10.0.92 (v10.1.0-rc2)'), '10.0.92')
  assert.equal(parseQemuVersion('bash: qemu: command not found'), undefined)
})

test('recentEnough() starts at 10.1, for QEMU and for its Debian package', () => {
  for (const version of [
    '10.1',
    '10.1.0',
    '10.2.3',
    '11.0.0',
    '1:11.1.3+ds-1~bpo13+1',
    '1:10.1.0~rc3',
  ]) {
    assert.ok(recentEnough(version), version)
  }
  for (const version of ['9.2.4', '10.0.13', '1:10.0.13+ds-0+deb13u1', '7.2.0', '', 'x']) {
    assert.ok(!recentEnough(version), version)
  }
})
