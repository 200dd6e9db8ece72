/**
 * The commands of Debian's nvme-cli, each with what comes of it: what the controller says of itself, its registers, features and logs,
 * what is done to blocks, and every refusal by its status; and the kernel in between has nothing to say of it.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { truncateSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { nvme } from '../../drivers/nvme/nvme.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { diskToolFiles } from '../../vm/disk-tools.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { Scratch } from '../support/scratch.ts'
import { imageAt, PATIENCE, runIn } from './nvme-guest.ts'

const UUID = '5d4b5b0c-6f0e-4e0c-9a2e-0c7a3a1f7e01'
const SERIAL = 'MDEV-0001'
const MIB = 2 ** 20
const SIZE = 64 * MIB
const BLOCKS = SIZE / 512

/** Statuses as nvme-cli prints them, all with Do Not Retry. NVMe 1.4, figures 126 to 130 */
const INVALID_OPCODE = '0x4001'
const INVALID_FIELD = '0x4002'
const INVALID_NAMESPACE = '0x400b'
const COMMAND_SEQUENCE_ERROR = '0x400c'
const LBA_OUT_OF_RANGE = '0x4080'
const INVALID_QUEUE_ID = '0x4101'
const INVALID_QUEUE_SIZE = '0x4102'
const INVALID_VECTOR = '0x4108'
const INVALID_LOG_PAGE = '0x4109'
const INVALID_FORMAT = '0x410a'
const INVALID_QUEUE_DELETION = '0x410c'
const NOT_SAVEABLE = '0x410d'
const NOT_OF_NAMESPACE = '0x410f'
const COMPARE_FAILURE = '0x4285'

const scratch = new Scratch()
const image = scratch.write('disk.img', '')
/** What was logged, from debug on. */
const lines: string[] = []
let host: Host
let guest: Guest

before(async () => {
  const progress = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }
  const assets = await prepareVm(progress)
  const tools = await diskToolFiles(['nvme'], progress)
  truncateSync(image, 2 * SIZE)
  const log = createLogger('debug', (line) => lines.push(line))
  const settings = [['image', image]] as const
  host = await Host.register({ driver: nvme, log, root: scratch.path, settings })
  const mdev = await host.create('nvme-64m', UUID, [['serial', SERIAL]])
  guest = await bootGuest({
    assets,
    init: shellInit,
    files: tools,
    modules: ['nvme'],
    cpus: 2,
    extraKernelArgs: ['iomem=relaxed'], // so that nvme-cli may look at registers
    devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
    ...PATIENCE,
  })
  // nvme-cli reads what it is to write, where it is given nothing, from the console
  await run('nvme() { /usr/sbin/nvme "$@" 2>&1 </dev/null; }; dmesg -c >/dev/null')
})
after(async () => {
  await guest?.stop()
  host?.close()
  scratch[Symbol.dispose]()
})

/** Runs a command in the guest that is to succeed. @returns what it printed */
async function run(command: string): Promise<string> {
  return runIn(guest, command)
}

/** What one of nvme-cli's commands says as JSON. */
async function json(command: string): Promise<Record<string, unknown>> {
  return JSON.parse(await run(`nvme ${command} -o json`)) as Record<string, unknown>
}

/** What is said with a number or text, and is not zero. */
function told(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) =>
      typeof value === 'string' ? !/^[0-]*$/.test(value) : typeof value === 'number' && value !== 0,
    ),
  )
}

/** Runs commands of nvme-cli that are to be refused by the controller, each with this status. */
async function refused(status: string, commands: readonly string[]): Promise<void> {
  const output = await run(
    commands
      .map(
        (command) => `nvme ${command} >/tmp/said; echo "$? $(grep -o '(0x[0-9a-f]*)$' /tmp/said)"`,
      )
      .join('\n'),
  )
  const came = output.trimEnd().split('\n')
  assert.deepEqual(
    Object.fromEntries(commands.map((command, index) => [command, came[index]])),
    Object.fromEntries(commands.map((command) => [command, `1 (${status})`])),
  )
}

/** The value of a feature. @param how further options: of what, and which value */
async function feature(id: number, how = ''): Promise<number> {
  const output = await run(`nvme get-feature /dev/nvme0 -f ${id} ${how}`)
  return Number.parseInt(/value:(?:0x)?([0-9a-f]{8})/.exec(output)?.[1] ?? '', 16)
}

test('identify: the controller, its namespace, and their lists', async () => {
  assert.deepEqual(told(await json('id-ctrl /dev/nvme0')), {
    vid: 0x1b36,
    ssvid: 0x1b36,
    sn: SERIAL.padEnd(20),
    mn: 'mdevkit NVMe'.padEnd(40),
    fr: '1.0'.padEnd(8),
    ieee: 0x52_5400,
    mdts: 7, // 512 KiB
    cntlid: 1,
    ver: 0x1_0400,
    ctratt: 1, // host identifiers of 128 bits
    cntrltype: 1,
    oacs: 0x102, // Format NVM, Doorbell Buffer Config
    acl: 3,
    aerl: 3,
    frmw: 3, // one slot, read-only
    lpa: 6, // effects, offsets
    elpe: 63,
    wctemp: 343,
    cctemp: 373,
    sqes: 0x66,
    cqes: 0x44,
    nn: 1,
    oncs: 0x5d, // Compare, Dataset Management, Write Zeroes, Select, Timestamp
    vwc: 7,
    sgls: 1,
    subnqn: `nqn.2014-08.org.nvmexpress:uuid:${UUID}`,
  })
  const namespace = await json('id-ns /dev/nvme0n1')
  assert.deepEqual(told(namespace), { nsze: BLOCKS, ncap: BLOCKS, nuse: BLOCKS, dlfeat: 9 })
  assert.deepEqual(namespace['lbafs'], [{ ms: 0, ds: 9, rp: 0 }])
  assert.deepEqual(await json('list-ns /dev/nvme0'), { nsid_list: [{ nsid: 1 }] })
  const { 'ns-descs': names } = (await json('ns-descs /dev/nvme0n1')) as {
    'ns-descs': Record<string, unknown>[]
  }
  assert.deepEqual(names.map(told), [{ nidt: 3, nidl: 16, Type: 'uuid', uuid: UUID }])
  await refused(INVALID_NAMESPACE, [
    'id-ns /dev/nvme0 -n 2',
    'id-ns /dev/nvme0 -n 0xffffffff',
    'ns-descs /dev/nvme0 -n 2',
    'admin-passthru /dev/nvme0 -O 6 --cdw10=2 -n 0xfffffffe -l 4096 -r',
  ])
  await refused(INVALID_FIELD, [
    'list-ns /dev/nvme0 -a',
    'list-ctrl /dev/nvme0',
    'nvm-id-ctrl /dev/nvme0',
    'nvm-id-ns /dev/nvme0n1',
    'cmdset-ind-id-ns /dev/nvme0n1',
    'id-iocs /dev/nvme0',
    'id-nvmset /dev/nvme0',
    'id-uuid /dev/nvme0',
    'id-domain /dev/nvme0',
    'id-ns-granularity /dev/nvme0',
    'id-ns-lba-format /dev/nvme0 -i 0',
    'list-endgrp /dev/nvme0',
    'primary-ctrl-caps /dev/nvme0',
    'list-secondary /dev/nvme0',
  ])
})

test('show-regs: the registers, while the guest’s driver has it enabled', async () => {
  const rows = (await run('nvme show-regs /dev/nvme0')).matchAll(/^(\w+) *: (0x[0-9a-f]+)$/gm)
  const { asq, acq, ...registers } = Object.fromEntries(Array.from(rows, (row) => row.slice(1, 3)))
  assert.deepEqual(registers, {
    cap: '0x4000203c0103ff', // pages up to 64 KiB; NVM; 30 s; contiguous queues of 1024
    version: '0x10400',
    cc: '0x460001',
    csts: '0x1',
    aqa: '0x1f001f',
  })
  for (const address of [asq, acq]) assert.equal(Number(address) % 4096, 0)
})

test('features: those there are, set and read back, and back to what they were after a reset', async () => {
  const kept = [
    { id: 1, initial: 7, value: 0x0203_0403 },
    { id: 4, initial: 343, value: 400 },
    { id: 5, initial: 0, value: 3, how: '-n 1' },
    { id: 6, initial: 1, value: 0 },
    { id: 8, initial: 0, value: 0x0104 },
    { id: 10, initial: 0, value: 1 },
    { id: 11, initial: 0, value: 0x300 },
  ] as const
  const others = [2, 7, 9, 14, 0x81]
  const listed = await guest.run('nvme get-feature /dev/nvme0 -n 1 -f 0 -s 3', PATIENCE)
  assert.deepEqual(
    Array.from(listed.output.matchAll(/^get-feature:(0x\w\w).*:0x0000000(\d)$/gm), (match) => [
      Number(match[1]),
      Number(match[2]),
    ]),
    [...kept.map(({ id }) => id), ...others]
      .toSorted((a, b) => a - b)
      .map((id) => [id, id === 5 ? 6 : 4]), // changeable; of its namespace
  )
  for (const { id, initial, value, ...rest } of kept) {
    const how = 'how' in rest ? rest.how : ''
    assert.equal(await feature(id, how), initial, `feature ${id}`)
    await run(`nvme set-feature /dev/nvme0 -f ${id} -V ${value} ${how}`)
    assert.equal(await feature(id, how), value, `feature ${id}`)
    assert.equal(await feature(id, `${how} -s 1`), initial, `feature ${id}`)
  }
  await run('nvme set-feature /dev/nvme0 -f 4 -V 0x100110')
  assert.equal(await feature(4, '-c 0x100000'), 0x110)
  assert.deepEqual([await feature(7), await feature(7, '-s 1')], [0x1_0001, 0x3_0003])
  await run('nvme set-feature /dev/nvme0 -f 9 -V 0x10002')
  assert.deepEqual([await feature(9, '-c 2'), await feature(9, '-c 1')], [0x1_0002, 1])
  await run(String.raw`printf '\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20' >/tmp/id`)
  await run('nvme set-feature /dev/nvme0 -f 0x81 -V 1 -l 16 -d /tmp/id')
  assert.match(
    await run('nvme get-feature /dev/nvme0 -f 0x81 -c 1 -l 16'),
    /^0000: 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 /m,
  )
  await run('nvme set-feature /dev/nvme0 -f 14 -l 8 -d /tmp/id')
  // it goes on from there, and says that it was set
  assert.match(await run('nvme get-feature /dev/nvme0 -f 14'), /^0000: .. .. .. 04 05 06 02 00 /m)

  await refused(INVALID_FIELD, [
    ...[3, 12, 16, 0x7f, 0x82, 0x84, 0xc0].flatMap((id) => [
      `get-feature /dev/nvme0 -f ${id}`,
      `set-feature /dev/nvme0 -f ${id} -V 0`,
    ]),
    'set-feature /dev/nvme0 -f 2 -V 1', // power state 1
    'set-feature /dev/nvme0 -f 7 -V 0xffff',
    'set-feature /dev/nvme0 -f 9 -V 5', // vector 5
    'get-feature /dev/nvme0 -f 9 -c 5',
    'set-feature /dev/nvme0 -f 4 -V 0x10140', // sensor 1
    'set-feature /dev/nvme0 -f 5 -n 1 -V 0x10000',
  ])
  await refused(COMMAND_SEQUENCE_ERROR, ['set-feature /dev/nvme0 -f 7 -V 0x10001'])
  await refused(NOT_SAVEABLE, ['set-feature /dev/nvme0 -f 6 -V 1 -s'])
  await refused(NOT_OF_NAMESPACE, ['set-feature /dev/nvme0 -f 6 -V 1 -n 1'])
  await refused(INVALID_NAMESPACE, [
    'get-feature /dev/nvme0 -f 5 -n 2',
    'get-feature /dev/nvme0 -f 5 -n 0xffffffff',
    'set-feature /dev/nvme0 -f 5 -n 2 -V 0',
    'set-feature /dev/nvme0 -f 6 -n 2 -V 0',
  ])

  await run('nvme reset /dev/nvme0')
  assert.equal(await run('cat /sys/class/nvme/nvme0/state'), 'live\n')
  for (const { id, initial, ...rest } of kept) {
    // the driver asks for the events that it wants
    if (id !== 11) assert.equal(await feature(id, 'how' in rest ? rest.how : ''), initial)
  }
})

test('logs: SMART, errors, firmware, changed namespaces and effects; and none but these', async () => {
  const { host_read_commands: reads } = await json('smart-log /dev/nvme0')
  await run('nvme read /dev/nvme0n1 -s 0 -c 7 -z 4096 -d /tmp/data')
  await refused(LBA_OUT_OF_RANGE, [`read /dev/nvme0n1 -s ${BLOCKS} -c 0 -z 512`])
  const { errors } = (await json('error-log /dev/nvme0 -e 1')) as {
    errors: Record<string, unknown>[]
  }
  const { sqid, cmdid, error_count: count, ...error } = told(errors[0]!)
  assert.deepEqual(error, {
    status_field: Number(LBA_OUT_OF_RANGE),
    parm_error_location: 0xffff,
    lba: BLOCKS,
    nsid: 1,
  })
  assert.ok(sqid === 1 || sqid === 2, `queue ${String(sqid)}, command ${String(cmdid)}`)
  assert.deepEqual(told(await json('smart-log /dev/nvme0')), {
    temperature: 313,
    avail_spare: 100,
    spare_thresh: 10,
    data_units_read: 1,
    host_read_commands: Number(reads) + 1,
    power_cycles: 1,
    num_err_log_entries: count,
  })
  await run('nvme set-feature /dev/nvme0 -f 4 -V 300')
  assert.equal((await json('smart-log /dev/nvme0'))['critical_warning'], 2)
  await run('nvme set-feature /dev/nvme0 -f 4 -V 343')
  assert.match(await run('nvme fw-log /dev/nvme0'), /^afi {2}: 0x1\nfrs1 : 0x2020202020302e31 /m)
  assert.equal(await run('nvme changed-ns-list-log /dev/nvme0'), 'no ns changed\n')
  const [effects] = (await json('effects-log /dev/nvme0')) as unknown as [Record<string, object>]
  const { admin_cmd_set, io_cmd_set } = effects
  assert.deepEqual(
    { admin_cmd_set, io_cmd_set },
    {
      admin_cmd_set: {
        'ACS_0 (Delete I/O Submission Queue)': 1,
        'ACS_1 (Create I/O Submission Queue)': 1,
        'ACS_2 (Get Log Page)': 1,
        'ACS_4 (Delete I/O Completion Queue)': 1,
        'ACS_5 (Create I/O Completion Queue)': 1,
        'ACS_6 (Identify)': 1,
        'ACS_8 (Abort)': 1,
        'ACS_9 (Set Features)': 1,
        'ACS_10 (Get Features)': 1,
        'ACS_12 (Asynchronous Event Request)': 1,
        'ACS_124 (Doorbell Buffer Config)': 1,
        'ACS_128 (Format NVM)': 0x2_0003, // changes data; alone
      },
      io_cmd_set: {
        'IOCS_0 (Flush)': 1,
        'IOCS_1 (Write)': 3,
        'IOCS_2 (Read)': 1,
        'IOCS_5 (Compare)': 1,
        'IOCS_8 (Write Zeroes)': 3,
        'IOCS_9 (Dataset Management)': 3,
      },
    },
  )
  const part = '--log-id=5 --log-len=16 --lpo=1024 --raw-binary'
  assert.equal(
    await run(`nvme get-log /dev/nvme0 ${part} | od -An -tx4`),
    ' 00000001 00000003 00000001 00000000\n',
  )
  await refused(INVALID_LOG_PAGE, [
    'supported-log-pages /dev/nvme0',
    'self-test-log /dev/nvme0',
    'predictable-lat-log /dev/nvme0 -i 1',
    'pred-lat-event-agg-log /dev/nvme0',
    'ana-log /dev/nvme0',
    'persistent-event-log /dev/nvme0 -a 0 -l 512',
    'lba-status-log /dev/nvme0',
    'endurance-log /dev/nvme0 -g 1',
    'endurance-event-agg-log /dev/nvme0 -e 1',
    'media-unit-stat-log /dev/nvme0',
    'supported-cap-config-log /dev/nvme0',
    'fid-support-effects-log /dev/nvme0',
    'mi-cmd-support-effects-log /dev/nvme0',
    'boot-part-log /dev/nvme0 -f /tmp/data',
    'phy-rx-eom-log /dev/nvme0',
    'resv-notif-log /dev/nvme0',
    'sanitize-log /dev/nvme0',
    ...[0, 0x70, 0xc0].map((id) => `get-log /dev/nvme0 -i ${id} -l 512`),
  ])
  await refused(INVALID_FIELD, [
    'get-log /dev/nvme0 -i 2 -l 512 -L 3', // from the middle of a dword
    'get-log /dev/nvme0 -i 2 -l 512 -L 1024', // beyond its end
  ])
  await refused(INVALID_NAMESPACE, ['smart-log /dev/nvme0 -n 2'])
})

test('blocks: written, read, compared, zeroed, deallocated and flushed, and none beyond the last', async () => {
  await run('head -c 4096 /dev/urandom >/tmp/random')
  await run('nvme write /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/random')
  await run('nvme flush /dev/nvme0n1')
  const [sum] = (await run('sha256sum /tmp/random')).split(' ')
  assert.equal(
    createHash('sha256')
      .update(imageAt(image, 4096, 4096))
      .digest('hex'),
    sum,
  )
  await run('nvme read /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/data && cmp /tmp/data /tmp/random')
  await run('nvme compare /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/random')
  await refused(COMPARE_FAILURE, ['compare /dev/nvme0n1 -s 9 -c 7 -z 4096 -d /tmp/random'])
  await run(
    'nvme write-zeroes /dev/nvme0n1 -s 8 -c 1 && nvme write-zeroes /dev/nvme0n1 -s 10 -c 1 -d',
  )
  await run('nvme dsm /dev/nvme0n1 -n 1 -d -s 12,14 -b 1,2')
  // blocks 13 and after the second range are as they were
  await run('nvme read /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/data')
  await run(
    'head -c 2560 /dev/zero >/tmp/expected; tail -c +2561 /tmp/random | head -c 512 >>/tmp/expected; head -c 1024 /dev/zero >>/tmp/expected; cmp /tmp/data /tmp/expected',
  )
  await run('nvme write /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/random')
  await refused(LBA_OUT_OF_RANGE, [
    `write /dev/nvme0n1 -s ${BLOCKS} -c 0 -z 512 -d /tmp/random`,
    `read /dev/nvme0n1 -s ${BLOCKS - 1} -c 1 -z 1024`,
    `compare /dev/nvme0n1 -s ${BLOCKS - 1} -c 1 -z 1024 -d /tmp/random`,
    `write-zeroes /dev/nvme0n1 -s ${BLOCKS - 1} -c 1`,
    `dsm /dev/nvme0n1 -n 1 -d -s ${BLOCKS} -b 8`,
    'read /dev/nvme0n1 -s 0xffffffffffffffff -c 0 -z 512',
  ])
  await refused(INVALID_OPCODE, [
    'write-uncor /dev/nvme0n1 -s 0 -c 0',
    'verify /dev/nvme0n1 -s 0 -c 0',
    'copy /dev/nvme0n1 -d 10 -s 0 -b 1',
    'resv-report /dev/nvme0n1',
    'resv-acquire /dev/nvme0n1',
    'resv-register /dev/nvme0n1',
    'resv-release /dev/nvme0n1',
    'io-mgmt-recv /dev/nvme0n1',
    'io-passthru /dev/nvme0n1 -O 0x99 -n 1',
  ])
})

test('admin commands: what there is not is refused, and so are queues that cannot be', async () => {
  await refused(INVALID_OPCODE, [
    'fw-commit /dev/nvme0 -s 1 -a 1',
    'device-self-test /dev/nvme0 -n 1 -s 1',
    'sanitize /dev/nvme0 -a 2',
    'create-ns /dev/nvme0 -s 10 -c 10 -f 0',
    'delete-ns /dev/nvme0 -n 1',
    'attach-ns /dev/nvme0 -n 1 -c 1',
    'detach-ns /dev/nvme0 -n 1 -c 1',
    'security-recv /dev/nvme0 -x 512',
    'dir-receive /dev/nvme0n1 -n 1 -D 0 -O 1',
    'dir-send /dev/nvme0n1 -n 1 -D 0 -O 1 -T 1 -e 1',
    'virt-mgmt /dev/nvme0 -c 1 -r 0 -a 1 -n 0',
    'lockdown /dev/nvme0 -f 1',
    'capacity-mgmt /dev/nvme0 -O 0',
    'nvme-mi-recv /dev/nvme0 -O 0',
    'get-lba-status /dev/nvme0n1 -s 0 -m 1 -a 0x10 -l 1',
    'admin-passthru /dev/nvme0 -O 0x18', // Keep Alive
    'admin-passthru /dev/nvme0 -O 0xff',
  ])
  // what runs is not called back, and what does not run is not found
  for (const command of ['0', '0x50001'])
    assert.match(
      await run(`nvme admin-passthru /dev/nvme0 -O 8 --cdw10=${command}`),
      /is Success and result: 0x00000001/,
    )
  await refused(INVALID_QUEUE_ID, [
    'admin-passthru /dev/nvme0 -O 0 --cdw10=9', // Delete I/O Submission Queue
    'admin-passthru /dev/nvme0 -O 4 --cdw10=9', // Delete I/O Completion Queue
    'admin-passthru /dev/nvme0 -O 5 --cdw10=0xf0000 --cdw11=1', // Create: queue 0
    'admin-passthru /dev/nvme0 -O 5 --cdw10=0xf0001 --cdw11=1', // one that there is
    'admin-passthru /dev/nvme0 -O 5 --cdw10=0xf0005 --cdw11=1', // more than there may be
  ])
  await refused(INVALID_QUEUE_SIZE, [
    'admin-passthru /dev/nvme0 -O 5 --cdw10=3 --cdw11=1', // one entry
    'admin-passthru /dev/nvme0 -O 5 --cdw10=0x4000003 --cdw11=1', // 1025
  ])
  await refused(INVALID_VECTOR, ['admin-passthru /dev/nvme0 -O 5 --cdw10=0xf0003 --cdw11=0x90003'])
  await refused(INVALID_FIELD, ['admin-passthru /dev/nvme0 -O 5 --cdw10=0xf0003 --cdw11=0']) // in pieces
  await refused(INVALID_QUEUE_DELETION, ['admin-passthru /dev/nvme0 -O 4 --cdw10=1'])
})

test('format erases all blocks, and refuses what it has not', async () => {
  assert.ok(imageAt(image, 4096, 4096).some((byte) => byte !== 0))
  await refused(INVALID_FORMAT, ['format /dev/nvme0n1 -l 1 -f', 'format /dev/nvme0n1 -i 1 -f'])
  await refused(INVALID_FIELD, ['format /dev/nvme0n1 -s 2 -f']) // by cryptography
  await refused(INVALID_NAMESPACE, ['admin-passthru /dev/nvme0 -O 0x80 -n 2'])
  assert.ok(imageAt(image, 4096, 4096).some((byte) => byte !== 0))
  await run('nvme format /dev/nvme0n1 -s 1 -f')
  await run('nvme read /dev/nvme0n1 -s 8 -c 7 -z 4096 -d /tmp/data')
  await run('head -c 4096 /dev/zero | cmp /tmp/data -')
  assert.ok(imageAt(image, 0, SIZE).every((byte) => byte === 0))
})

test('there is no subsystem to reset, a rescan finds the same, and the kernel has nothing to complain of', async () => {
  const subsystem = await guest.run('nvme subsystem-reset /dev/nvme0', PATIENCE)
  assert.deepEqual(subsystem, {
    status: 1,
    output: 'Subsystem-reset: NVM Subsystem Reset not supported.\n',
  })
  await run('nvme ns-rescan /dev/nvme0')
  assert.match(await run('nvme list'), new RegExp(`^/dev/nvme0n1 .* ${SERIAL} .* 67\\.11 +MB`, 'm'))
  const kernel = (await run('dmesg')).replaceAll(/^\[.*?\] /gm, '').split('\n')
  assert.deepEqual(
    kernel.filter((line) => line.includes('nvme')), // it also complains of a slow processor
    [
      'nvme nvme0: resetting controller', // as it was told
      'nvme nvme0: 2/0/0 default/read/poll queues',
    ],
  )
  assert.deepEqual(
    lines.filter((line) => /^(debug|warn|error)/.test(line)),
    [],
  )
})
