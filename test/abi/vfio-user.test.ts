/**
 * The vfio-user numbers and layouts, which no kernel header has: restated from the reference, and tried on the bytes of a
 * real QEMU 11.1.3 session (its section 20).
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as vfioUser from '../../src/abi/vfio-user.ts'
import * as vfio from '../../src/abi/vfio.ts'
import { dataViewOf, type Fields, type Struct } from '../../src/lib/struct.ts'
import { fieldsOf } from '../support/abi.ts'

const CONSTANTS = {
  VFIO_USER_MAJOR: 0,
  VFIO_USER_MINOR: 2, // the newest anyone speaks: libvfio-user (section 5)
  // section 3
  VFIO_USER_F_TYPE_MASK: 0x0000000f,
  VFIO_USER_F_TYPE_COMMAND: 0,
  VFIO_USER_F_TYPE_REPLY: 1,
  VFIO_USER_F_NO_REPLY: 0x00000010,
  VFIO_USER_F_ERROR: 0x00000020,
  // section 4
  VFIO_USER_VERSION: 1,
  VFIO_USER_DMA_MAP: 2,
  VFIO_USER_DMA_UNMAP: 3,
  VFIO_USER_DEVICE_GET_INFO: 4,
  VFIO_USER_DEVICE_GET_REGION_INFO: 5,
  VFIO_USER_DEVICE_GET_REGION_IO_FDS: 6,
  VFIO_USER_DEVICE_GET_IRQ_INFO: 7,
  VFIO_USER_DEVICE_SET_IRQS: 8,
  VFIO_USER_REGION_READ: 9,
  VFIO_USER_REGION_WRITE: 10,
  VFIO_USER_DMA_READ: 11,
  VFIO_USER_DMA_WRITE: 12,
  VFIO_USER_DEVICE_RESET: 13,
  VFIO_USER_REGION_WRITE_MULTI: 15,
  VFIO_USER_DEVICE_FEATURE: 16,
  VFIO_USER_MIG_DATA_READ: 17,
  VFIO_USER_MIG_DATA_WRITE: 18,
  // sections 6.1 and 6.2
  VFIO_USER_F_DMA_REGION_READ: 1,
  VFIO_USER_F_DMA_REGION_WRITE: 2,
  VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP: 1,
  VFIO_USER_F_DMA_UNMAP_ALL: 2,
  // section 8.3
  VFIO_USER_REGION_INFO_CAP_SPARSE_MMAP_FDS: 0x8001,
  // section 9
  VFIO_USER_IO_FD_TYPE_IOEVENTFD: 0,
  VFIO_USER_IO_FD_TYPE_IOREGIONFD: 1,
  VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW: 2,
  KVM_IOEVENTFD_FLAG_DATAMATCH: 1,
  KVM_IOEVENTFD_FLAG_PIO: 2,
  // section 5.1
  QEMU_MAX_VERSION_REPLY: 214,
} as const satisfies Record<string, number>

/** Size of the fixed part, then offset and size of each field. */
const LAYOUTS = {
  // section 3
  vfio_user_header: [
    16,
    { msg_id: [0, 2], command: [2, 2], size: [4, 4], flags: [8, 4], error: [12, 4] },
  ],
  // section 5
  vfio_user_version: [4, { major: [0, 2], minor: [2, 2] }],
  // section 6
  vfio_user_dma_map: [
    32,
    { argsz: [0, 4], flags: [4, 4], offset: [8, 8], addr: [16, 8], size: [24, 8] },
  ],
  vfio_user_dma_unmap: [24, { argsz: [0, 4], flags: [4, 4], addr: [8, 8], size: [16, 8] }],
  vfio_user_bitmap: [16, { pgsize: [0, 8], size: [8, 8] }],
  // section 8.3: { u64 offset, u64 fd_offset, u64 size, u32 fd_index, u32 0 }
  vfio_user_sparse_mmap_fds_area: [
    32,
    { offset: [0, 8], fd_offset: [8, 8], size: [16, 8], fd_index: [24, 4] },
  ],
  // section 9, the last column: entries of libvfio-user
  vfio_user_region_io_fds: [16, { argsz: [0, 4], flags: [4, 4], index: [8, 4], count: [12, 4] }],
  vfio_user_sub_region_ioeventfd: [
    48,
    {
      offset: [0, 8],
      size: [8, 8],
      fd_index: [16, 4],
      type: [20, 4],
      flags: [24, 4],
      shadow_mem_fd_index: [28, 4],
      shadow_offset: [32, 8],
      datamatch: [40, 8],
    },
  ],
  // section 11
  vfio_user_region_access: [16, { offset: [0, 8], region: [8, 4], count: [12, 4] }],
  vfio_user_write_multi: [8, { wr_cnt: [0, 8] }],
  vfio_user_wr_single: [24, { offset: [0, 8], region: [8, 4], count: [12, 4], data: [16, 8] }],
  // section 12, newest text
  vfio_user_dma_access: [16, { addr: [0, 8], count: [8, 8] }],
  // section 14.3
  vfio_user_mig_data: [8, { argsz: [0, 4], size: [4, 4] }],
} as const satisfies Record<string, readonly [number, Record<string, readonly [number, number]>]>

describe('src/abi/vfio-user.ts', () => {
  const exported = Object.entries(vfioUser)

  test('constants are those of the reference, and no others', () => {
    const constants = exported.filter(([, value]) => typeof value === 'number')
    assert.deepEqual(Object.fromEntries(constants), CONSTANTS)
  })

  test('layouts are those of the reference, and no others', () => {
    const structs = exported.map(([, value]) => value).filter((value) => typeof value === 'object')
    const found = (structs as unknown as Struct<Fields>[]).map((struct) => {
      const fields = fieldsOf(struct).map(({ name, offset, size }) => [name, [offset, size]])
      return [struct.name, [struct.size, Object.fromEntries(fields)]]
    })
    assert.deepEqual(Object.fromEntries(found), LAYOUTS)
  })
})

const HEADER = 16

function message(hex: string): DataView {
  return dataViewOf(Buffer.from(hex, 'hex'))
}

/** All fields of a layout aimed at `offset` of a message, padding included. */
function read<F extends Fields>(struct: Struct<F>, data: DataView, offset = HEADER) {
  const view = struct.view().aim(data, offset)
  const names = Object.keys(struct.offsets) as (keyof F)[]
  return Object.fromEntries(names.map((name) => [name, view[name]]))
}

/** Data after the fixed part of a message. */
function tail(data: DataView, offset: number): Buffer {
  return Buffer.from(data.buffer, data.byteOffset + offset, data.byteLength - offset)
}

function header(data: DataView): Record<string, unknown> {
  const fields = read(vfioUser.VfioUserHeader, data, 0)
  assert.equal(fields['size'], data.byteLength, 'size is that of the whole message')
  return fields
}

describe('a QEMU 11.1.3 session read through the views', () => {
  test('VERSION: 0.0 and the capabilities, ended by one NUL, in 214 bytes', () => {
    const request = message(
      '00000100d60000000000000000000000000000007b226361706162696c6974696573223a207b22706773697a6573223a20343039362c20226d' +
        '61785f6d73675f666473223a2031362c20226d61785f646d615f6d617073223a2036353533352c20226d61785f646174615f786665725f' +
        '73697a65223a20313034383537362c20226d6967726174696f6e223a207b226d61785f6269746d61705f73697a65223a20323638343335' +
        '3435362c2022706773697a65223a20343039367d2c202277726974655f6d756c7469706c65223a20747275657d7d00',
    )
    assert.deepEqual(header(request), { msg_id: 0, command: 1, size: 214, flags: 0, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserVersion, request), { major: 0, minor: 0 })
    const json = tail(request, HEADER + 4).toString('latin1')
    assert.equal(json.indexOf('\0'), json.length - 1)
    assert.deepEqual(JSON.parse(json.slice(0, -1)), {
      capabilities: {
        pgsizes: 4096,
        max_msg_fds: 16,
        max_dma_maps: 65535,
        max_data_xfer_size: 1048576,
        migration: { max_bitmap_size: 268435456, pgsize: 4096 },
        write_multiple: true,
      },
    })
  })

  test('DMA_MAP: 512 MiB of RAM at 0, read and write, and its reply', () => {
    const request = message(
      '010002003000000000000000000000002000000003000000000000000000000000000000000000000000002000000000',
    )
    assert.deepEqual(header(request), { msg_id: 1, command: 2, size: 48, flags: 0, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserDmaMap, request), {
      argsz: 32,
      flags: 3,
      offset: 0,
      addr: 0,
      size: 512 * 2 ** 20,
    })
    const reply = message('01000200100000000100000000000000')
    assert.deepEqual(header(reply), { msg_id: 1, command: 2, size: 16, flags: 1, error: 0 })
  })

  test('DMA_MAP: the BIOS ROM, 256 KiB at 0xfffc0000, read only', () => {
    const request = message(
      '02000200300000000000000000000000200000000100000000000000000000000000fcff000000000000040000000000',
    )
    assert.deepEqual(read(vfioUser.VfioUserDmaMap, request), {
      argsz: 32,
      flags: 1,
      offset: 0,
      addr: 0xfffc0000,
      size: 256 * 1024,
    })
  })

  test('DMA_MAP: RAM above the hole at 1 MiB, by its offset in the file', () => {
    const request = message(
      '2b0002003000000000000000000000002000000003000000000010000000000000001000000000000000f01f00000000',
    )
    assert.deepEqual(read(vfioUser.VfioUserDmaMap, request), {
      argsz: 32,
      flags: 3,
      offset: 0x100000,
      addr: 0x100000,
      size: 0x1ff00000,
    })
  })

  test('DMA_UNMAP: all of RAM, echoed', () => {
    const fields = { argsz: 24, flags: 0, addr: 0n, size: 0x20000000n }
    const request = message(
      '27000300280000000000000000000000180000000000000000000000000000000000002000000000',
    )
    assert.deepEqual(header(request), { msg_id: 0x27, command: 3, size: 40, flags: 0, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserDmaUnmap, request), fields)
    const reply = message(
      '27000300280000000100000000000000180000000000000000000000000000000000002000000000',
    )
    assert.deepEqual(header(reply), { msg_id: 0x27, command: 3, size: 40, flags: 1, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserDmaUnmap, reply), fields)
  })

  test('DEVICE_GET_INFO: reset supported, PCI, 9 regions, 5 irqs', () => {
    const reply = message('0300040020000000010000000000000010000000030000000900000005000000')
    assert.deepEqual(header(reply), { msg_id: 3, command: 4, size: 32, flags: 1, error: 0 })
    assert.deepEqual(read(vfio.VfioDeviceInfo, reply), {
      argsz: 16,
      flags: 3,
      num_regions: 9,
      num_irqs: 5,
    })
  })

  test('DEVICE_GET_REGION_INFO: BAR 1, 4096 bytes, read and write, not mapped', () => {
    const reply = message(
      '050005003000000001000000000000002000000003000000010000000000000000100000000000000000000000000000',
    )
    assert.deepEqual(header(reply), { msg_id: 5, command: 5, size: 48, flags: 1, error: 0 })
    assert.deepEqual(read(vfio.VfioRegionInfo, reply), {
      argsz: 32,
      flags: 3,
      index: 1,
      cap_offset: 0,
      size: 4096,
      offset: 0,
    })
  })

  test('DEVICE_GET_IRQ_INFO: MSI-X, 4 vectors by eventfd', () => {
    const reply = message('1600070020000000010000000000000010000000010000000200000004000000')
    assert.deepEqual(header(reply), { msg_id: 0x16, command: 7, size: 32, flags: 1, error: 0 })
    assert.deepEqual(read(vfio.VfioIrqInfo, reply), { argsz: 16, flags: 1, index: 2, count: 4 })
  })

  test('DEVICE_SET_IRQS: disable INTx; unmask MSI-X vector 1 with an eventfd', () => {
    const disable = message(
      '1b0008002400000000000000000000001400000021000000000000000000000000000000',
    )
    assert.deepEqual(header(disable), { msg_id: 0x1b, command: 8, size: 36, flags: 0, error: 0 })
    assert.deepEqual(read(vfio.VfioIrqSet, disable), {
      argsz: 20,
      flags: 0x21, // NONE, TRIGGER
      index: 0,
      start: 0,
      count: 0,
    })
    const assign = message(
      'be0008002400000000000000000000001400000024000000020000000100000001000000',
    )
    assert.deepEqual(read(vfio.VfioIrqSet, assign), {
      argsz: 20,
      flags: 0x24, // EVENTFD, TRIGGER
      index: 2,
      start: 1,
      count: 1,
    })
  })

  test('REGION_READ: the MSI-X flags, 2 bytes at 0x72 of the config region', () => {
    const request = message('1300090020000000000000000000000072000000000000000700000002000000')
    assert.deepEqual(header(request), { msg_id: 0x13, command: 9, size: 32, flags: 0, error: 0 })
    const fields = { offset: 0x72, region: 7, count: 2 }
    assert.deepEqual(read(vfioUser.VfioUserRegionAccess, request), fields)
    const reply = message('13000900220000000100000000000000720000000000000007000000020000000300')
    assert.deepEqual(header(reply), { msg_id: 0x13, command: 9, size: 34, flags: 1, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserRegionAccess, reply), fields)
    assert.deepEqual([...tail(reply, HEADER + 16)], [3, 0])
  })

  test('REGION_WRITE: posted, 4 bytes at 0x40 of BAR 0', () => {
    const request = message(
      'bf000a0024000000100000000000000040000000000000000000000004000000efbeadde',
    )
    assert.deepEqual(header(request), {
      msg_id: 0xbf,
      command: 10,
      size: 36,
      flags: 0x10, // no reply
      error: 0,
    })
    assert.deepEqual(read(vfioUser.VfioUserRegionAccess, request), {
      offset: 0x40,
      region: 0,
      count: 4,
    })
    assert.equal(tail(request, HEADER + 16).readUInt32LE(), 0xdeadbeef)
  })

  test('DEVICE_RESET: nothing but headers', () => {
    const [command, size, error] = [13, 16, 0]
    assert.deepEqual(header(message('1e000d00100000000000000000000000')), {
      msg_id: 0x1e,
      command,
      size,
      flags: 0,
      error,
    })
    assert.deepEqual(header(message('1e000d00100000000100000000000000')), {
      msg_id: 0x1e,
      command,
      size,
      flags: 1,
      error,
    })
  })

  test('DMA_WRITE and DMA_READ: 8 bytes at 0x100000, with a count of 64 bits', () => {
    const fields = { addr: 0x100000, count: 8 }
    const data = [0x01, 0x08, 0x0f, 0x16, 0x1d, 0x24, 0x2b, 0x32]
    const write = message(
      '01800c002800000000000000000000000000100000000000080000000000000001080f161d242b32',
    )
    assert.deepEqual(header(write), { msg_id: 0x8001, command: 12, size: 40, flags: 0, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserDmaAccess, write), fields)
    assert.deepEqual([...tail(write, HEADER + 16)], data)

    const written = message('01800c0020000000010000000000000000001000000000000800000000000000')
    assert.deepEqual(read(vfioUser.VfioUserDmaAccess, written), fields)

    const reply = message(
      '02800b002800000001000000000000000000100000000000080000000000000001080f161d242b32',
    )
    assert.deepEqual(header(reply), { msg_id: 0x8002, command: 11, size: 40, flags: 1, error: 0 })
    assert.deepEqual(read(vfioUser.VfioUserDmaAccess, reply), fields)
    assert.deepEqual([...tail(reply, HEADER + 16)], data)
  })
})

test('views write the bytes that QEMU wrote', () => {
  const bytes = Buffer.concat([
    vfioUser.VfioUserHeader.encode({ msg_id: 0x2b, command: 2, size: 48 }),
    vfioUser.VfioUserDmaMap.encode({
      argsz: 32,
      flags: 3,
      offset: 0x100000,
      addr: 0x100000,
      size: 0x1ff00000,
    }),
  ])
  assert.equal(
    bytes.toString('hex'),
    '2b0002003000000000000000000000002000000003000000000010000000000000001000000000000000f01f00000000',
  )
})
