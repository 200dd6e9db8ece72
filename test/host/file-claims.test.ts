/** Claims between processes: real directories, real locks, processes that are killed. */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { FileClaims } from '../../src/host/file-claims.ts'
import { addressOf, cFunction, check } from '../../src/os/ffi.ts'
import { connectUnix, listenUnix } from '../../src/os/unix-socket.ts'
import { assertKeepsFds, Fds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import { ClaimingProcess, namesBelow, OTHER_UUID, UUID } from './support.ts'

const cSocket = cFunction('socket', 'int', ['int', 'int', 'int'])
const cBind = cFunction('bind', 'int', ['int', 'ptr', 'u32'])
const cListen = cFunction('listen', 'int', ['int', 'int'])

/** A listening socket of another type than ours. */
function listenSeqpacket(path: string): number {
  const fd = check(cSocket(1, 5, 0), 'socket') // AF_UNIX, SOCK_SEQPACKET
  const address = Buffer.from(`\x01\0${path}\0`) // struct sockaddr_un
  check(cBind(fd, addressOf(address), address.length), 'bind')
  check(cListen(fd, 1), 'listen')
  return fd
}

describe('FileClaims.claimUuid()', () => {
  test('gives a private directory, which goes with the claim, and leaves no fd', () => {
    using scratch = new Scratch()
    const root = join(scratch.path, 'deep/root')
    const claims = new FileClaims(root)
    assertKeepsFds(() => {
      const claim = claims.claimUuid(UUID)
      assert.equal(claim.value, join(root, 'devices', UUID))
      assert.equal(statSync(claim.value).mode & 0o777, 0o700)
      writeFileSync(join(claim.value, 'port0'), '')
      mkdirSync(join(claim.value, 'more/below'), { recursive: true })
      claim.release()
    })
    assert.deepEqual(namesBelow(root), ['devices'])
  })

  test('is EEXIST while another claim holds it, in this process too, naming the pid', () => {
    using scratch = new Scratch()
    const claim = new FileClaims(scratch.path).claimUuid(UUID)
    assertKeepsFds(() => {
      assert.throws(() => new FileClaims(scratch.path).claimUuid(UUID), {
        code: 'EEXIST',
        message: `mdev ${UUID}: in use by pid ${process.pid}`,
      })
    })
    new FileClaims(scratch.path).claimUuid(OTHER_UUID).release()
    claim.release()
    new FileClaims(scratch.path).claimUuid(UUID).release()
  })

  test('is exclusive between processes', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using other = new ClaimingProcess()
    const { value } = await other.ask({ verb: 'claimUuid', root, uuid: UUID })
    assert.equal(value, join(root, 'devices', UUID))
    assert.throws(() => new FileClaims(root).claimUuid(UUID), {
      code: 'EEXIST',
      message: `mdev ${UUID}: in use by pid ${other.pid}`,
    })
    await other.ask({ verb: 'release' })
    const claim = new FileClaims(root).claimUuid(UUID)
    assert.equal((await other.ask({ verb: 'claimUuid', root, uuid: UUID })).code, 'EEXIST')
    claim.release()
    assert.equal((await other.ask({ verb: 'claimUuid', root, uuid: UUID })).code, undefined)
  })

  test('takes over what a killed process has left, emptied', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using other = new ClaimingProcess()
    await other.ask({ verb: 'claimUuid', root, uuid: UUID })
    const directory = join(root, 'devices', UUID)
    await other.ask({ verb: 'listen', path: join(directory, 'cntrl') })
    writeFileSync(join(directory, 'port0'), '')
    mkdirSync(join(directory, 'more/below'), { recursive: true })
    await other.kill()
    assert.deepEqual(readdirSync(directory).toSorted(), ['cntrl', 'lock', 'more', 'port0'])

    const claim = new FileClaims(root).claimUuid(UUID)
    assert.deepEqual(readdirSync(directory), ['lock'])
    claim.release()
    assert.deepEqual(namesBelow(root), ['devices'])
  })

  test('takes over a directory that somebody has made, and one whose cntrl is no socket', () => {
    using scratch = new Scratch()
    scratch.write(`devices/${UUID}/cntrl`, 'text')
    const claim = new FileClaims(scratch.path).claimUuid(UUID)
    assert.deepEqual(readdirSync(claim.value), ['lock'])
    claim.release()
  })

  describe('of a device that another program serves is EEXIST, and leaves all as it was,', () => {
    const refuses = (scratch: Scratch, cntrl: string) => {
      const before = namesBelow(scratch.path)
      assertKeepsFds(() => {
        assert.throws(() => new FileClaims(scratch.path).claimUuid(UUID), {
          code: 'EEXIST',
          message: `mdev ${UUID}: another program serves ${cntrl}`,
        })
      })
      assert.deepEqual(namesBelow(scratch.path), before)
    }
    const setUp = () => {
      const scratch = new Scratch()
      scratch.write(`devices/${UUID}/foreign`, '')
      return { scratch, cntrl: join(scratch.path, 'devices', UUID, 'cntrl') }
    }

    test('at a stream socket', () => {
      const { scratch, cntrl } = setUp()
      using _ = scratch
      using fds = new Fds()
      fds.own(listenUnix(cntrl, 0o600))
      refuses(scratch, cntrl)
    })

    test('at a socket of another type', () => {
      const { scratch, cntrl } = setUp()
      using _ = scratch
      using fds = new Fds()
      fds.own(listenSeqpacket(cntrl))
      refuses(scratch, cntrl)
    })

    test('where nobody more can connect for now', () => {
      const { scratch, cntrl } = setUp()
      using _ = scratch
      using fds = new Fds()
      fds.own(listenUnix(cntrl, 0o600))
      assert.throws(
        () => {
          for (let client = 0; client < 5000; client++) fds.own(connectUnix(cntrl))
        },
        { code: 'EAGAIN' },
      )
      refuses(scratch, cntrl)
    })
  })

  test('below a root too deep for a socket is ENAMETOOLONG, and leaves no claim', () => {
    using scratch = new Scratch()
    const root = join(scratch.path, 'x'.repeat(100))
    const claims = new FileClaims(root)
    assertKeepsFds(() => assert.throws(() => claims.claimUuid(UUID), { code: 'ENAMETOOLONG' }))
    assert.deepEqual(namesBelow(root), ['devices'])
  })

  test('below a link that leads nowhere is ENOENT, rather than tried for ever', () => {
    using scratch = new Scratch()
    symlinkSync('nowhere/at/all', join(scratch.path, 'devices'))
    const claims = new FileClaims(scratch.path)
    assertKeepsFds(() => assert.throws(() => claims.claimUuid(UUID), { code: 'ENOENT' }))
  })

  test('released once more does not take it from the next', () => {
    using scratch = new Scratch()
    const claims = new FileClaims(scratch.path)
    const first = claims.claimUuid(UUID)
    first.release()
    const second = claims.claimUuid(UUID)
    first.release()
    assert.throws(() => claims.claimUuid(UUID), { code: 'EEXIST' })
    second.release()
  })

  test('can be released where somebody has tidied up by hand', () => {
    using scratch = new Scratch()
    const claims = new FileClaims(scratch.path)
    assertKeepsFds(() => {
      const claim = claims.claimUuid(UUID)
      rmSync(join(scratch.path, 'devices'), { recursive: true })
      claim.release()
    })
    claims.claimUuid(UUID).release()
  })

  test('contended by processes belongs to one at a time, which nobody disturbs', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using a = new ClaimingProcess()
    await using b = new ClaimingProcess()
    await using c = new ClaimingProcess()
    const answers = await Promise.all(
      [a, b, c].map((other) => other.ask({ verb: 'contend', root, uuid: UUID, times: 200 })),
    )
    assert.deepEqual(answers, [{ value: [] }, { value: [] }, { value: [] }])
    assert.deepEqual(namesBelow(root), ['devices'])
  })
})

describe('FileClaims.claimGroup()', () => {
  test('gives the lowest number that is free, on the whole machine', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    const claims = new FileClaims(root)
    await using other = new ClaimingProcess()
    const there = async () => (await other.ask({ verb: 'claimGroup', root })).value

    const first = claims.claimGroup()
    assert.deepEqual([first.value, await there()], [0, 1])
    const third = claims.claimGroup()
    assert.deepEqual([third.value, await there()], [2, 3])
    first.release()
    assert.deepEqual([await there(), await there()], [0, 4])
    await other.kill()
    const numbers = [claims.claimGroup(), claims.claimGroup(), claims.claimGroup()]
    assert.deepEqual(
      numbers.map(({ value }) => value),
      [0, 1, 3],
    )
    for (const claim of [third, ...numbers]) claim.release()
  })

  test('never gives a number twice, to processes that ask at once', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using a = new ClaimingProcess()
    await using b = new ClaimingProcess()
    const numbers: unknown[] = []
    const claimMany = async (other: ClaimingProcess) => {
      for (let i = 0; i < 20; i++)
        numbers.push((await other.ask({ verb: 'claimGroup', root })).value)
    }
    await Promise.all([claimMany(a), claimMany(b)])
    const sorted = numbers.map(Number).toSorted((x, y) => x - y)
    assert.deepEqual(
      sorted,
      Array.from({ length: 40 }, (_, i) => i),
    )
  })

  test('leaves neither file nor fd', () => {
    using scratch = new Scratch()
    const claims = new FileClaims(scratch.path)
    assertKeepsFds(() => claims.claimGroup().release())
    assert.deepEqual(namesBelow(scratch.path), ['groups'])
  })
})

describe('FileClaims.claimExactParent()', () => {
  test('is refused with EBUSY while another process has the name, and ends with that', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using other = new ClaimingProcess()
    assert.equal((await other.ask({ verb: 'claimExactParent', root, wanted: 'x' })).value, 'x')
    const claims = new FileClaims(root)
    const message = `parent x: the host with pid ${other.pid} has it`
    assert.throws(() => claims.claimExactParent('x'), { code: 'EBUSY', message })
    assert.equal(claims.claimParent('x').value, 'x.1')
    await other.kill()
    const claim = claims.claimExactParent('x')
    assert.throws(() => claims.claimExactParent('x'), { code: 'EBUSY' })
    claim.release()
    assert.equal(claims.claimExactParent('x').value, 'x')
  })

  test('refuses what is no file name with EINVAL', () => {
    using scratch = new Scratch()
    assert.throws(() => new FileClaims(scratch.path).claimExactParent('../x'), { code: 'EINVAL' })
  })
})

describe('FileClaims.claimParent()', () => {
  test('gives the name wanted, else the first with a number that is free', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    const claims = new FileClaims(root)
    await using other = new ClaimingProcess()
    const there = async () => (await other.ask({ verb: 'claimParent', root, wanted: 'x' })).value

    const first = claims.claimParent('x')
    assert.deepEqual([first.value, await there()], ['x', 'x.1'])
    assert.equal(claims.claimParent('y').value, 'y')
    assert.equal(claims.claimParent('x').value, 'x.2')
    first.release()
    first.release()
    assert.equal(await there(), 'x')
    await other.kill()
    assert.deepEqual([claims.claimParent('x').value, claims.claimParent('x').value], ['x', 'x.1'])
  })

  test('accepts a PCI address and the like', () => {
    using scratch = new Scratch()
    for (const wanted of ['0000:00:05.0', 'my parent', '.x', '-', 'ä'])
      assert.equal(new FileClaims(scratch.path).claimParent(wanted).value, wanted)
  })

  for (const wanted of ['', '.', '..', 'a/b', '/etc/x', '../x', 'a\0b']) {
    test(`refuses ${JSON.stringify(wanted)} with EINVAL, and makes nothing`, () => {
      using scratch = new Scratch()
      assert.throws(() => new FileClaims(scratch.path).claimParent(wanted), { code: 'EINVAL' })
      assert.deepEqual(namesBelow(scratch.path), [])
    })
  }

  test('refuses a name that is too long for a file with ENAMETOOLONG', () => {
    using scratch = new Scratch()
    const claims = new FileClaims(scratch.path)
    assert.throws(() => claims.claimParent('x'.repeat(256)), { code: 'ENAMETOOLONG' })
  })
})
