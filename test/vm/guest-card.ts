/** A card as root in a guest reaches it without a driver: registers by devmem, configuration by sysfs. */
import assert from 'node:assert/strict'
import type { Guest } from '../../vm/guest.ts'

export class GuestCard {
  readonly #guest: Guest
  /** Where the guest has placed the BARs. */
  readonly #bases: readonly string[]
  readonly slot: string

  private constructor(guest: Guest, slot: string, bases: readonly string[]) {
    this.#guest = guest
    this.slot = slot
    this.#bases = bases
  }

  /** @param slot as in `0000:00:01.0`; may be found again after a reboot */
  static async find(guest: Guest, slot: string): Promise<GuestCard> {
    const { output } = await guest.run(`cut -d' ' -f1 /sys/bus/pci/devices/${slot}/resource`)
    return new GuestCard(guest, slot, output.trim().split('\n'))
  }

  /** Lets the guest's root, or the card, reach the other's memory; as a driver does when it is bound. */
  async command(bits: { readonly memory: boolean; readonly busMaster: boolean }): Promise<void> {
    const value = (bits.memory ? 2 : 0) | (bits.busMaster ? 4 : 0) // PCI Local Bus 3.0, 6.2.2
    await this.#run(
      String.raw`printf '\0${value}\0' | dd of=/sys/bus/pci/devices/${this.slot}/config bs=2 seek=2 conv=notrunc 2>/dev/null`,
    )
  }

  async read(bar: number, offset: number): Promise<number> {
    return Number(await this.#run(`devmem ${this.#address(bar, offset)} 32`))
  }

  async write(bar: number, offset: number, value: number): Promise<void> {
    await this.#run(this.writing(bar, offset, value))
  }

  /** The guest's command for {@link write}. */
  writing(bar: number, offset: number, value: number): string {
    return `devmem ${this.#address(bar, offset)} 32 ${value}`
  }

  /** Reads until it is something else than `busy`. */
  async settled(bar: number, offset: number, busy: number): Promise<number> {
    const read = `value=$(devmem ${this.#address(bar, offset)} 32)`
    return Number(
      await this.#run(`until ${read}; [ $((value)) != ${busy} ]; do :; done; echo $value`),
    )
  }

  #address(bar: number, offset: number): string {
    return `$((${this.#bases[bar]} + ${offset}))`
  }

  async #run(command: string): Promise<string> {
    const { status, output } = await this.#guest.run(command)
    assert.equal(status, 0, output)
    return output.trim()
  }
}
