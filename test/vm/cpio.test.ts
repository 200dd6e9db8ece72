/** The cpio writer against the "newc" format as the kernel's buffer-format.rst has it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CpioWriter } from '../../vm/cpio.ts'

// magic, ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum
const FILE =
  '070701' +
  '00000002' +
  '000081ed' + // S_IFREG | 0755
  '00000000' +
  '00000000' +
  '00000001' +
  '00000000' +
  '00000005' +
  '00000000' +
  '00000000' +
  '00000000' +
  '00000000' +
  '00000006' + // 'a/bcd' and its NUL
  '00000000'
const TRAILER = `070701${'00000000'.repeat(4)}00000001${'00000000'.repeat(6)}0000000b00000000`

test('CpioWriter writes headers of the newc format and pads name and content to 4 bytes', () => {
  const cpio = new CpioWriter()
  cpio.file('/a/bcd', 0o755, 'hello')
  const archive = cpio.finish().toString('latin1')
  // 110 bytes of header and the 2 of "a\0" need no padding
  const directory = `07070100000001000041ed${'00000000'.repeat(2)}00000001${'00000000'.repeat(6)}0000000200000000a\0`
  assert.equal(archive.slice(0, 112), directory)
  assert.equal(archive.slice(112), `${FILE}a/bcd\0hello\0\0\0${TRAILER}TRAILER!!!\0\0\0\0`)
})

test('CpioWriter writes symbolic links and character devices', () => {
  const cpio = new CpioWriter()
  cpio.symlink('/sh', 'busybox')
  cpio.characterDevice('/c', 0o600, 5, 1)
  const archive = cpio.finish().toString('latin1')
  const link = /^070701000000010000a1ff.{32}00000007.{32}0000000300000000sh\0{4}busybox\0/s
  assert.match(archive, link)
  const device = /0707010000000200002180.{32}00000000.{16}00000005000000010000000200000000c\0/s
  assert.match(archive, device)
})

test('CpioWriter.file() leaves a path as it was first added', () => {
  const cpio = new CpioWriter()
  cpio.file('/x', 0o644, 'first')
  cpio.file('/x', 0o644, 'second')
  const archive = cpio.finish().toString('latin1')
  assert.ok(archive.includes('first'))
  assert.ok(!archive.includes('second'))
})
