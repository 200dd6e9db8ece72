/** tickets: devices of one parent that draw numbers from one roll; where it got to is kept in a file. */
import { readFileSync, writeFileSync } from 'node:fs'
import { defineDriver, ErrnoError, text } from 'mdevkit'

/** What all devices of a parent draw from. */
class Roll {
  readonly #file: string
  next: number

  constructor(file: string) {
    this.#file = file
    this.next = Number(readFileSync(file, 'utf8'))
    if (!Number.isInteger(this.next)) throw new ErrnoError('EINVAL', `${file}: holds no number`)
  }

  draw(): number {
    return this.next++ % 2 ** 32
  }

  save(): void {
    writeFileSync(this.#file, `${this.next}\n`)
  }
}

export const tickets = defineDriver({
  name: 'tickets',
  types: { 1: { name: 'Ticket machine' } },
  parentAttributes: {
    file: text({ required: true, description: 'where the next number is kept' }),
  },
  open: (parent) => new Roll(parent.attributes.file),
  close: (roll) => roll.save(),
  parentStatus: (roll) => ({ next: String(roll.next) }),
  probe(mdev, roll) {
    const pci = mdev.pci({ vendor: 0x1b36, device: 0x71c7, class: 0xff_00_00 })
    pci.bar(0, { kind: 'mem32', size: 4096 }, { read: () => roll.draw(), write: () => {} })
    return { reset: () => {} }
  },
})
