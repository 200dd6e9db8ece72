/** SeaBIOS boots from a slice, by its own NVMe driver: the boot sector reads more of the disk and writes it to the serial port. */
import assert from 'node:assert/strict'
import { closeSync, openSync, truncateSync, writeSync } from 'node:fs'
import { after, test } from 'node:test'
import { nvme } from '../../drivers/nvme/nvme.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { Scratch } from '../support/scratch.ts'
import { bootByFirmware } from './boot-by-firmware.ts'

const MIB = 2 ** 20
const SECTOR = 512
const TEXT_SECTOR = 8
const TEXT_SECTORS = 60

const scratch = new Scratch()
after(() => scratch[Symbol.dispose]())

/** Reads sectors by INT 13h, AH=42h, and writes them to COM1 up to a zero byte. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(SECTOR)
  Buffer.from(
    [
      '31c0 8ed8 8ed0 bc007c fc', // xor ax,ax; mov ds,ax; mov ss,ax; mov sp,7c00h; cld
      'be307c b442 cd13 721a', // mov si,packet; mov ah,42h; int 13h; jc end
      'be0080', // mov si,8000h
      'ac 84c0 7412 88c4', // next: lodsb; test al,al; jz end; mov ah,al
      'bafd03 ec a820 74fb', // mov dx,3fdh; wait: in al,dx; test al,20h; jz wait
      'baf803 88e0 ee ebe9', // mov dx,3f8h; mov al,ah; out dx,al; jmp next
      'f4 ebfd', // end: hlt; jmp end
    ]
      .join('')
      .replaceAll(' ', ''),
    'hex',
  ).copy(sector)
  sector.set([0x10, 0], 0x30) // packet: its size
  sector.writeUInt16LE(TEXT_SECTORS, 0x32)
  sector.writeUInt16LE(0x8000, 0x34) // to 0000:8000
  sector.writeBigUInt64LE(BigInt(TEXT_SECTOR), 0x38)
  sector.writeUInt16LE(0xaa55, 510)
  return sector
}

test('SeaBIOS finds the disk, boots from it, and reads what the boot sector asks for', async () => {
  const assets = await prepareVm({
    onProgress: (line) => void process.stderr.write(`${line}\n`),
  })
  const text = Array.from({ length: 1500 }, (_, i) => `from the disk ${i}\n`).join('')
  const image = scratch.write('boot.img', '')
  truncateSync(image, 64 * MIB)
  const fd = openSync(image, 'r+')
  writeSync(fd, bootSector(), 0, SECTOR, 0)
  writeSync(fd, `${text}end of text\0`, TEXT_SECTOR * SECTOR)
  closeSync(fd)
  const lines: string[] = []
  const log = createLogger('debug', (line) => lines.push(line))
  const settings = [['image', image]] as const
  const host = await Host.register({ driver: nvme, log, root: scratch.path, settings })
  try {
    const mdev = await host.create('nvme-64m', freshUuid())
    const devices = ['-device', vfioUserDevice(host.socketOf(mdev))]
    const output = await bootByFirmware({ assets, memoryMiB: 64, devices }, 'end of text')
    assert.ok(output.includes(`${text}end of text`), output.slice(-2000))
    assert.deepEqual(
      lines.filter((line) => /^(debug|warn|error)/.test(line)),
      [],
    )
  } finally {
    host.close()
    await host.closed
  }
})
