/** Reads and writes that take their time: who waits can be interrupted, and nobody else waits. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { ended } from '../support/child.ts'
import { type Mounted, mountForTests } from './mounted.ts'
import { until } from '../support/until.ts'

let mounted: Mounted
let release: () => Promise<void>

before(async () => {
  ;({ mounted, release } = await mountForTests())
})
after(() => release())

/** Starts a shell and resolves when `count` calls of it have reached the tree and wait there. */
async function beginWaiting(script: string, count = 1): Promise<ChildProcess> {
  await mounted.ask('slow')
  const shell = mounted.begin(script)
  const waiting: string[] = []
  await until(async () => {
    waiting.push(...(await mounted.ask<string[]>('slow')))
    assert.equal(waiting.length, count)
  })
  return shell
}

async function assertNothingHeld(): Promise<void> {
  const { calls } = await mounted.until<{ calls: number; files: number }>(
    'held',
    ({ files }) => files === 0,
  )
  assert.equal(calls, 0)
}

test('a slow read and a slow write end when the file has done', async () => {
  const reader = await beginWaiting('cat "$M"/slow')
  assert.equal(await mounted.says('cat "$M"/value'), 'one\n', 'others go on meanwhile')
  await mounted.ask('finish')
  assert.equal((await ended(reader)).stdout, 'at last\n')
  const writer = await beginWaiting('echo x > "$M"/slow && echo written')
  await mounted.ask('finish')
  assert.equal((await ended(writer)).stdout, 'written\n')
  await assertNothingHeld()
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
  for (const [what, script] of [
    ['read', 'exec cat "$M"/slow'],
    ['write', 'exec dd if=/dev/zero of="$M"/slow bs=1 count=1'],
  ] as const) {
    test(`${signal} ends a ${what} that waits, and the file is told`, async () => {
      const process = await beginWaiting(script)
      process.kill(signal)
      assert.equal((await ended(process)).signal, signal)
      assert.deepEqual(await mounted.ask('slow'), [`${what} aborted`])
      await mounted.ask('finish')
      await assertNothingHeld()
    })
  }
}

test('a signal that is handled makes it EINTR', async () => {
  const reader = await beginWaiting(`
    perl -e 'use POSIX;
      sigaction(SIGUSR1, POSIX::SigAction->new(sub { print "handled\\n" }));
      open(my $f, "<", $ARGV[0]) or die; $| = 1; print "$$\\n";
      sysread($f, my $x, 10); print $!{EINTR} ? "EINTR\\n" : "other\\n"' "$M"/slow`)
  const said: string[] = []
  reader.stdout?.setEncoding('utf8')
  for await (const text of reader.stdout!) {
    said.push(...(text as string).trim().split('\n'))
    if (said.length === 1) process.kill(Number(said[0]), 'SIGUSR1')
  }
  assert.deepEqual(said.slice(1), ['handled', 'EINTR'])
  await mounted.ask('finish')
})

test('many wait at once on one file, and each ends for itself', async () => {
  const shell = await beginWaiting('for i in {1..40}; do cat "$M"/slow & done; wait', 40)
  assert.equal((await mounted.ask<{ calls: number }>('held')).calls, 40)
  assert.equal(await mounted.says('cat "$M"/value; stat -c %s "$M"/slow'), 'one\n4096\n')
  await mounted.ask('finish')
  assert.equal((await ended(shell)).stdout, 'at last\n'.repeat(40))
  await assertNothingHeld()
})

test('a writer waits for one that came before it to the same file, and for nobody else', async () => {
  const first = await beginWaiting('echo 1 > "$M"/slow && echo first')
  const second = mounted.begin('echo opens; echo 2 > "$M"/slow && echo second')
  await once(second.stdout!, 'data')
  assert.equal(await mounted.says('echo 3 > "$M"/value && echo third'), 'third\n')
  first.kill('SIGKILL')
  assert.equal((await ended(first)).signal, 'SIGKILL')
  await mounted.until<string[]>('slow', (said) => said.includes('write waits'))
  await mounted.ask('finish')
  assert.match((await ended(second)).stdout, /second/)
  await assertNothingHeld()
})

test('a file that goes while a write to it waits holds up nobody, and the write ends when it does', async () => {
  await mounted.ask('add abc')
  const writer = await beginWaiting('echo x > "$M"/many/abc/wait && echo written')
  await mounted.ask('remove abc')
  // the directory's lock is free: lookups, listings and new entries go on
  const script = 'ls "$M"/many; echo def > "$M"/create; ls "$M"/many; echo 1 > "$M"/many/def/remove'
  for (let i = 0; i < 3; i++) assert.equal(await mounted.says(script), 'def\n')
  await mounted.ask('finish')
  assert.equal((await ended(writer)).stdout, 'written\n')
  await assertNothingHeld()
})

test('a process stands in what is removed while its removal waits', async () => {
  await mounted.ask('add abc')
  const writer = await beginWaiting('cd "$M"/many/abc && echo x > wait; ls; cd ..; ls')
  await mounted.ask('remove abc')
  assert.equal(await mounted.says('ls "$M"/many; stat "$M"/many/* 2>&- || echo none'), 'none\n')
  await mounted.ask('finish')
  assert.deepEqual(await ended(writer), { code: 0, signal: null, stdout: '', stderr: '' })
})
