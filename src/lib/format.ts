/** Numbers as messages show them. */

/** `0x1f`: addresses, offsets, masks. */
export function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`
}

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `4 KiB`: sizes in binary units, with one decimal where it is not whole. */
export function bytes(size: number): string {
  let unit = 0
  let value = size
  while (value >= 1024 && unit < BINARY_UNITS.length - 1) {
    value /= 1024
    unit++
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${BINARY_UNITS[unit]}`
}

const FACTORS: Readonly<Record<string, number>> = { '': 0, K: 1, M: 2, G: 3, T: 4 }

/** Bytes of `512`, `64K`, `1M`, `1.5G` or `2T`, in binary units; undefined for anything else. */
export function parseBytes(text: string): number | undefined {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(text) ?? []
  const size = Number(number) * 1024 ** (FACTORS[unit] ?? 0)
  return number !== '' && Number.isSafeInteger(size) ? size : undefined
}
