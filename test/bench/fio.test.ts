import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fioCommand, type FioJob, parseBlockStat, parseFio } from '../../bench/fio.ts'

const JOB: FioJob = {
  device: '/dev/nvme0n1',
  access: 'randread',
  blockSize: 4096,
  depth: 32,
  seconds: 4,
}
/** What fio 3.39 prints of 1009 ms of reading, up to where the fields of reads end; those of writes are alike. */
const READS = `52984;52511;13127;1009${';0'.repeat(37)}`
const NONE = `0;0;0;0${';0'.repeat(37)}`

test('fioCommand() says what is to be done, and for how long', () => {
  assert.match(fioCommand(JOB), /--rw=randread --bs=4096 --iodepth=32 --time_based --runtime=4$/)
})

test('parseBlockStat() adds reads and writes that have ended', () => {
  const stat = '   11989  493 105968  938 1540  537 2077  10  0  880 2077\n'
  assert.equal(parseBlockStat(stat), 11989 + 1540)
  assert.throws(() => parseBlockStat('cat: not there\n'), { code: 'EPROTO', message: /not there/ })
})

test('parseFio() takes the fields of what was done', () => {
  const expected = { count: 13246, iops: (13246 * 1000) / 1009, bandwidth: 52511 * 1024 }
  const noise = 'note: both iodepth >= 1 and synchronous I/O engine are selected\n'
  assert.deepEqual(parseFio(`${noise}3;fio-3.39;bench;0;0;${READS};${NONE}\n`, JOB), expected)
  const writing = { ...JOB, access: 'randwrite' } as const
  assert.deepEqual(parseFio(`3;fio-3.39;bench;0;0;${NONE};${READS}\n`, writing), expected)
})

test('parseFio() refuses what is no result, or one of nothing', () => {
  assert.throws(() => parseFio('sh: fio: not found\n', JOB), {
    code: 'EPROTO',
    message: /not found/,
  })
  assert.throws(() => parseFio('3;fio-3.39;bench;0;0;12;13\n', JOB), { code: 'EPROTO' })
  assert.throws(() => parseFio(`3;fio-3.39;bench;0;5;${READS};${NONE}\n`, JOB), {
    code: 'EIO',
    message: 'fio: error 5',
  })
  assert.throws(() => parseFio(`3;fio-3.39;bench;0;0;${NONE};${READS}\n`, JOB), {
    code: 'EIO',
    message: 'fio: nothing was done',
  })
})
