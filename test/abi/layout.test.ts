/** Layouts and numbers of `src/abi`, compared with what the C compiler reads from the kernel's and the C library's headers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { abiModules, fieldsOf } from '../support/abi.ts'
import { runC } from '../support/cc.ts'

const HEADERS = [
  'fcntl.h',
  'sys/epoll.h',
  'sys/eventfd.h',
  'sys/file.h',
  'sys/syscall.h',
  'sys/mman.h',
  'sys/mount.h',
  'sys/resource.h',
  'sys/socket.h',
  'sys/uio.h',
  'sys/un.h',
  'sys/timerfd.h',
  'time.h',
  'sys/stat.h',
  'linux/aio_abi.h',
  'linux/falloc.h',
  'linux/io_uring.h',
  'linux/fuse.h',
  'linux/memfd.h',
  'linux/pci_regs.h',
  'linux/vfio.h',
]

/** Modules whose numbers stand in no header; each has a test of its own that restates its specification. */
const WITHOUT_HEADER = new Set(['vfio-user.js'])

/** Constants that no header names, or that we give another value, and the C expression that they must equal. */
const EXPRESSIONS: Readonly<Record<string, string>> = {
  FUSE_NOTIFY_INC_EPOCH: '8', // <linux/fuse.h> of Linux 6.16 and later
  FUSE_NOTIFY_PRUNE: '9', // the same of Linux 6.18
  PCI_EXP_VER2_SIZEOF: '0x3c', // QEMU's name for the whole structure; the header's own ends at link status 2
  PCI_CAP_MSI_SIZEOF_64: 'PCI_MSI_DATA_64 + 2', // the 64-bit form without masking ends in 16 bits of data
  SCM_MAX_FD: '253', // include/net/scm.h of the kernel's own sources
  VFIO_DEVICE_STATE_PRE_COPY: '6', // <linux/vfio.h> of Linux 6.2 and later
  VFIO_MIGRATION_PRE_COPY: '1 << 2',
  UNIX_PATH_MAX: 'sizeof(((struct sockaddr_un *)0)->sun_path)', // <linux/un.h>, which excludes <sys/un.h>
}

/** What headers as old as Debian's do not have yet. */
const NEWER = `
#if FUSE_KERNEL_MINOR_VERSION < 45
struct fuse_notify_prune_out { uint32_t count; uint32_t padding; uint64_t spare; };
#endif`

/** Layouts that are only the beginning of C's, and the sizes that C's has, the older first. */
const WHOLE_SIZES: Readonly<Record<string, readonly number[]>> = {
  vfio_device_info: [20, 24], // goes on with cap_offset, later with padding too
  sockaddr_un: [110], // goes on with sun_path
  io_uring_params: [120], // goes on with sq_off and cq_off
  statx: [256], // goes on with stx_spare3
  fuse_init_in: [64], // goes on with flags2, which FUSE_INIT_EXT announces
  fuse_entry_out: [128], // goes on with attr
  fuse_attr_out: [104], // goes on with attr
  vfio_device_feature_dma_logging_control: [24], // goes on with a pointer to the ranges
  vfio_device_feature_dma_logging_report: [32], // goes on with a pointer to the bitmap
}

/** Fields of which we use only the first bytes, and the size of C's. */
const WHOLE_FIELD: Readonly<Record<string, number>> = {
  'epoll_event.data': 8, // a union as wide as its u64
  'rusage.ru_utime': 16, // seconds and microseconds
  'rusage.ru_stime': 16,
  'itimerspec.it_interval': 16, // the same, and nanoseconds
  'itimerspec.it_value': 16,
}

const modules = (await abiModules()).filter(({ name }) => !WITHOUT_HEADER.has(name))

/** A program that prints every value we compare as `expression value`; an unknown name is an error of the compiler. */
function program(): string {
  const values = modules.flatMap(({ constants, structs }) => [
    ...[...constants.keys()].map((name) => [name, EXPRESSIONS[name] ?? name]),
    ...structs.flatMap((struct) => [
      [struct.name, `sizeof(struct ${struct.name})`],
      ...fieldsOf(struct).flatMap((field) => [
        [`${struct.name}.${field.name}@`, `offsetof(struct ${struct.name}, ${field.name})`],
        [`${struct.name}.${field.name}`, `sizeof(((struct ${struct.name} *)0)->${field.name})`],
      ]),
    ]),
  ])
  return [
    ...['stddef.h', 'stdio.h', ...HEADERS].map((header) => `#include <${header}>`),
    NEWER,
    'int main(void) {',
    ...values.map(([name, value]) => `printf("%s %lld\\n", "${name}", (long long)(${value}));`),
    '}',
  ].join('\n')
}

/** Values by the names that {@link program} prints. */
function askC(): Map<string, bigint> {
  const lines = runC(program()).trim().split('\n')
  return new Map(
    lines.map((line) => {
      const [name = '', value = ''] = line.split(' ')
      return [name, BigInt(value)]
    }),
  )
}

test('src/abi names only what the headers name', async (t) => {
  const c = askC()

  for (const { name: module, constants, structs } of modules) {
    await t.test(`${module}: constants have the values of the headers`, () => {
      for (const [name, value] of constants) assert.equal(BigInt(value), c.get(name), name)
    })

    for (const struct of structs) {
      await t.test(`${module}: struct ${struct.name} is laid out as in C`, () => {
        const { name } = struct
        for (const field of fieldsOf(struct)) {
          const path = `${name}.${field.name}`
          assert.equal(c.get(`${path}@`), BigInt(field.offset), `offset of ${path}`)
          const size = WHOLE_FIELD[path] ?? field.size
          assert.equal(c.get(path), BigInt(size), `size of ${path}`)
        }
        const sizes = WHOLE_SIZES[name] ?? [struct.size]
        assert.ok(sizes.includes(Number(c.get(name))), `${name} is ${c.get(name)} bytes in C`)
      })
    }
  }
})

test('the exceptions of this test are all needed', () => {
  const structs = modules.flatMap((module) => module.structs)
  const used = new Set([
    ...modules.flatMap(({ constants }) => Array.from(constants.keys())),
    ...structs.map(({ name }) => name),
    ...structs.flatMap((struct) => fieldsOf(struct).map(({ name }) => `${struct.name}.${name}`)),
  ])
  const exceptions = Object.keys({ ...EXPRESSIONS, ...WHOLE_SIZES, ...WHOLE_FIELD })
  assert.deepEqual(
    exceptions.filter((name) => !used.has(name)),
    [],
  )
})

test('runC() names what the compiler does not know', () => {
  const source = '#include <linux/vfio.h>\nint main(void) { return VFIO_NO_SUCH_NAME; }'
  assert.throws(() => runC(source), /VFIO_NO_SUCH_NAME/)
})
