/** What shells and tools make of a mounted tree. Wherever the real sysfs was asked the same (Linux 6.18), it answered the same. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { compileC } from '../support/cc.ts'
import { ended } from '../support/child.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { type Mounted, mountForTests } from './mounted.ts'

let mounted: Mounted
let release: () => Promise<void>

before(async () => {
  ;({ mounted, release } = await mountForTests())
})
after(() => release())

/** Some tools quote a path that has a blank in it, some any path. */
function plain(said: string): string {
  return said.replaceAll(mounted.path, 'M').replaceAll("'", '')
}

/** One line of the shell each, and what it says. */
async function check(cases: Readonly<Record<string, string>>): Promise<void> {
  for (const [script, said] of Object.entries(cases))
    assert.equal(plain(await mounted.says(script)), plain(said), script)
}

test('files, directories and links are read with cat, ls, stat, find and readlink', async () => {
  await check({
    'cat "$M"/value "$M"/readonly "$M"/empty': 'one\nfixed\n',
    'ls "$M"/many': '',
    'stat -c "%A %s %F" "$M"/value "$M"/many "$M"/link':
      '-rw-r--r-- 4096 regular file\ndrwxr-xr-x 0 directory\nlrwxrwxrwx 4 symbolic link\n',
    'stat -f -c "%s %l" "$M"': '4096 255\n',
    'readlink "$M"/link "$M"/broken': 'many\nnowhere\n',
    'cat "$M"/broken': 'cat: M/broken: No such file or directory\n',
    'find "$M" -maxdepth 1 -type f | wc -l': '9\n',
    'wc -c < "$M"/long': '4095\n',
    'cp "$M"/value "$M"/../copy && cat "$M"/../copy': 'one\n',
    'tail -n 1 "$M"/value': 'one\n',
    'grep -c . "$M"/value': '1\n',
    'dd if="$M"/value bs=1 2>&- | od -An -c': '   o   n   e  \\n\n',
    'exec 3<"$M"/counter; read a <&3; read b <&3; echo $a-$b': '1-\n',
  })
})

test('one write(2) is one write: echo, printf, tee, dd, >>, none and too much', async () => {
  await mounted.ask('written')
  await mounted.says(`
    echo text > "$M"/value
    printf 'no newline' > "$M"/value
    printf '' > "$M"/value
    echo more >> "$M"/value
    echo tee | tee "$M"/value
    printf 'abcd' | dd of="$M"/value bs=2
    printf 'at' | dd of="$M"/value bs=2 seek=3000 conv=notrunc
    printf 'a\\0b' > "$M"/value
    head -c 4096 /dev/zero | tr '\\0' x | dd of="$M"/value bs=64k iflag=fullblock
    head -c 5000 /dev/zero | tr '\\0' y | dd of="$M"/value bs=64k iflag=fullblock
  `)
  assert.deepEqual(await mounted.ask('written'), [
    '0: text\n',
    '0: no newline',
    '0: more\n',
    '0: tee\n',
    '0: ab',
    '0: cd',
    '0: at',
    '0: a\0b',
    `0: ${'x'.repeat(4096)}`,
    `0: ${'y'.repeat(4096)}`,
    `0: ${'y'.repeat(904)}`, // dd writes what was left
  ])
})

test('refusals arrive as they were made', async () => {
  const because = (code: string) => `echo ${code} > "$M"/refuse`
  const said = 'bash: line 1: echo: write error: '
  await check({
    [because('EINVAL')]: `${said}Invalid argument\n`,
    [because('EEXIST')]: `${said}File exists\n`,
    [because('EUSERS')]: `${said}Too many users\n`,
    [because('ENOSPC')]: `${said}No space left on device\n`,
    [because('bug')]: `${said}Input/output error\n`,
    [because('517')]: `${said}Input/output error\n`,
    'cat "$M"/refuse': 'cat: M/refuse: Input/output error\n',
    'cat "$M"/writeonly': 'cat: M/writeonly: Permission denied\n',
    'echo x > "$M"/readonly': 'bash: line 1: M/readonly: Permission denied\n',
  })
})

test('what the tree does not take is refused as sysfs does', async () => {
  await check({
    'mkdir "$M"/new': "mkdir: cannot create directory 'M/new': Operation not permitted\n",
    'mkdir "$M"/many': "mkdir: cannot create directory 'M/many': File exists\n",
    'rmdir "$M"/many': "rmdir: failed to remove 'M/many': Operation not permitted\n",
    'rm -f "$M"/value': "rm: cannot remove 'M/value': Operation not permitted\n",
    'rm -f "$M"/nothing': '',
    'mv "$M"/value "$M"/other': "mv: cannot move 'M/value' to 'M/other': Operation not permitted\n",
    'ln -s a "$M"/new': "ln: failed to create symbolic link 'M/new': Operation not permitted\n",
    'ln "$M"/value "$M"/new':
      "ln: failed to create hard link 'M/new' => 'M/value': Operation not permitted\n",
    'mkfifo "$M"/new': "mkfifo: cannot create fifo 'M/new': Operation not permitted\n",
    'echo > "$M"/new': 'bash: line 1: M/new: Permission denied\n',
    'echo > "$M"/many': 'bash: line 1: M/many: Is a directory\n',
    'cat "$M"/value/x': 'cat: M/value/x: Not a directory\n',
    'fallocate -l 10 "$M"/value': 'fallocate: fallocate failed: Invalid argument\n',
    'truncate -s 100 "$M"/value && stat -c %s "$M"/value': '4096\n',
    'dd if="$M"/value iflag=direct': "dd: failed to open 'M/value': Invalid argument\n",
  })
})

test('chmod, chown and touch hold, and are looked at', async () => {
  await check({
    'chmod 600 "$M"/counter && stat -c %a "$M"/counter': '600\n',
    'chown 65534:12 "$M"/counter && stat -c %u:%g "$M"/counter': '65534:12\n',
    'chmod 0 "$M"/counter; cat "$M"/counter': 'cat: M/counter: Permission denied\n',
    'chmod 444 "$M"/counter; touch -d @1000000000.25 "$M"/counter; stat -c %.Y "$M"/counter':
      '1000000000.250000000\n',
    'setpriv --reuid 65534 --clear-groups bash --norc -c "echo x > \'$M\'/value"':
      'bash: line 1: M/value: Permission denied\n',
    'setpriv --reuid 65534 --clear-groups cat "$M"/value': 'one\n',
  })
  await mounted.ask('written')
  await mounted.says(
    'chmod 666 "$M"/value; setpriv --reuid 65534 --clear-groups bash --norc -c "echo mine > \'$M\'/value"; chmod 644 "$M"/value',
  )
  assert.deepEqual(await mounted.ask('written'), ['65534: mine\n'])
})

test('what comes and goes is seen at once, by name, in listings and in counts of links', async () => {
  await mounted.ask('add abc')
  await check({
    'cat "$M"/many/abc/name; stat -c %h "$M"/many': 'abc\n3\n',
    'ls "$M"/many/abc': 'name\npower\nremove\nup\nwait\n',
    'cat "$M"/link/abc/up/abc/power/control': 'auto\n',
    'echo 1 > "$M"/many/abc/remove; ls "$M"/many; stat "$M"/many/abc':
      "stat: cannot statx 'M/many/abc': No such file or directory\n",
    'stat -c %h "$M"/many': '2\n',
    'echo abc > "$M"/create; cat "$M"/many/abc/name': 'abc\n',
    'echo abc > "$M"/create': 'bash: line 1: echo: write error: File exists\n',
    'exec 3> "$M"/many/abc/remove; echo 1 >&3; echo 1 >&3':
      'bash: line 1: echo: write error: No such device\n',
    'for i in {1..200}; do echo d > "$M"/create && test -e "$M"/many/d && echo 1 > "$M"/many/d/remove && test ! -e "$M"/many/d || echo failed $i; done':
      '',
  })
})

test('what has gone is forgotten, by the kernel and by us', async () => {
  await mounted.says('echo forget > "$M"/create; find "$M" > /dev/null')
  await mounted.says('for i in {1..50}; do echo n$i > "$M"/create; cat "$M"/many/n$i/*; done')
  await mounted.says('cd "$M"/many; for i in *; do echo 1 > $i/remove; done')
  const held = await mounted.until<{ nodes: number; files: number }>(
    'held',
    ({ nodes, files }) => nodes <= 13 && files === 0,
  )
  assert.ok(held.nodes > 0)
})

test('a process stands in what is removed, and leaves it', async () => {
  await mounted.ask('add home')
  const said = await mounted.says(
    'cd "$M"/many/home && echo 1 > remove; cat name; ls; cd ..; pwd; ls',
  )
  assert.equal(plain(said), 'cat: name: No such file or directory\nM/many\n')
})

test('who stands in what stays notices nothing of what comes and goes', async () => {
  await mounted.ask('add stays')
  const said = await mounted.says(`
    cd "$M"/many/stays/power
    for i in {1..50}; do
      echo goes > "$M"/create; echo 1 > "$M"/many/goes/remove
      cat "$M"/link/stays/name
      [ "$(/bin/pwd)" = "$M"/many/stays/power ] && cat ../name control && ls
    done | sort | uniq -c | tr -s ' '`)
  assert.equal(said, ' 50 auto\n 50 control\n 100 stays\n')
})

test('a thousand entries are listed with their attributes', async () => {
  await mounted.ask('clear')
  await mounted.ask('fill 1000')
  const [names, attributes] = (await mounted.says('ls "$M"/many | wc -l; ls -l "$M"/many | wc -l'))
    .trim()
    .split('\n')
  assert.equal(names, '1000')
  assert.equal(attributes, '1001')
  assert.equal(await mounted.says('cat "$M"/many/entry-*/name | sort -u | wc -l'), '1000\n')
})

test('a thousand readers while entries come and go see whole entries or none', async () => {
  using scratch = new Scratch()
  const program = `${scratch.path}/readers`
  compileC(`${PROJECT}test/fuse/readers.c`, program, ['-pthread'])
  await mounted.ask('clear')
  await mounted.ask('fill 50')
  const readers = mounted.begin(`${program} "$M"/many 1000 20`)
  const state = { finished: false }
  const result = ended(readers).finally(() => (state.finished = true))
  let churns = 0
  for (; !state.finished; churns++) await mounted.ask('churn 50')
  const { stdout, stderr, code } = await result
  assert.equal(stderr, '')
  assert.equal(code, 0)
  const { whole = 0, gone = 0 } = JSON.parse(stdout) as { whole?: number; gone?: number }
  assert.equal(whole + gone, 20_000)
  assert.ok(whole > 0 && churns > 0)
})

test('what has been removed is gone at once, whoever lists the directory meanwhile', async () => {
  using scratch = new Scratch()
  const program = `${scratch.path}/gone`
  compileC(`${PROJECT}test/fuse/gone.c`, program, ['-pthread'])
  await mounted.ask('clear')
  await mounted.ask('fill 300')
  assert.equal(await mounted.says(`${program} "$M"/create "$M"/many 2000`), '0 stale\n')
})

test('shells that stat and list while entries go do not wait for ever', async () => {
  await mounted.ask('clear')
  await mounted.ask('fill 20')
  const shells = [1, 2, 3, 4].map(() =>
    mounted.begin('for i in {1..10}; do ls -lR "$M"/many "$M"/link/; done >&- 2>&-'),
  )
  const state = { finished: false }
  const results = Promise.all(shells.map(ended)).finally(() => (state.finished = true))
  while (!state.finished) await mounted.ask('churn 20')
  await results
  assert.equal(await mounted.says('cat "$M"/value'), 'one\n')
})
