/** fio, as it is run in a guest, and what it prints. */
import { ErrnoError } from '../src/lib/errno.ts'

export interface FioJob {
  readonly device: string
  readonly access: 'randread' | 'randwrite' | 'read' | 'write'
  /** Bytes. */
  readonly blockSize: number
  readonly depth: number
  readonly seconds: number
}

export interface FioResult {
  /** Completed. */
  readonly count: number
  /** A second. */
  readonly iops: number
  /** Bytes a second. */
  readonly bandwidth: number
}

/** The command line of a job. Its output is short: a guest's console is slow. */
export function fioCommand({ device, access, blockSize, depth, seconds }: FioJob): string {
  return [
    '/usr/bin/fio --name=bench --thread --direct=1 --ioengine=libaio --gtod_reduce=1',
    '--norandommap --randrepeat=0 --minimal --terse-version=3',
    `--filename=${device} --rw=${access} --bs=${blockSize} --iodepth=${depth} --time_based --runtime=${seconds}`,
  ].join(' ')
}

const VERSION = '3'
const ERROR = 4
/** Where the fields of reads and of writes begin; they are alike. */
const READS = 5
const WRITES = 46
const KIB = 1024

/**
 * Reads the line that fio prints for one job.
 *
 * @param output of the command; other lines are passed over
 * @throws EPROTO there is no such line · EIO fio has seen an error, or did nothing
 */
export function parseFio(output: string, { access, blockSize }: FioJob): FioResult {
  const line = output.split('\n').find((each) => each.startsWith(`${VERSION};`))
  const fields = line?.split(';') ?? []
  const from = access === 'read' || access === 'randread' ? READS : WRITES
  const [total, bandwidth, , runtimeMs] = fields.slice(from, from + 4).map(Number)
  if (total === undefined || bandwidth === undefined || runtimeMs === undefined)
    throw new ErrnoError('EPROTO', `fio: no result in ${JSON.stringify(output.slice(0, 500))}`)
  if (fields[ERROR] !== '0') throw new ErrnoError('EIO', `fio: error ${fields[ERROR]}`)
  if (total === 0 || runtimeMs === 0) throw new ErrnoError('EIO', 'fio: nothing was done')
  const count = (total * KIB) / blockSize
  const iops = (count * 1000) / runtimeMs // the field is an integer, which is coarse where there are few
  return { count, iops, bandwidth: bandwidth * KIB }
}

/** How many reads and writes a disk has ended, by /sys/block/DISK/stat. @throws EPROTO that is something else */
export function parseBlockStat(stat: string): number {
  const fields = stat.trim().split(/\s+/).map(Number)
  const [reads, , , , writes] = fields
  if (reads === undefined || writes === undefined || !Number.isInteger(reads + writes))
    throw new ErrnoError('EPROTO', `stat of a disk: ${JSON.stringify(stat.slice(0, 200))}`)
  return reads + writes
}
