/** The image that is sliced: a file or a block device, and what is known of it. */
import { AsyncFile, type AsyncFileOptions, ErrnoError } from 'mdevkit'

/** What offsets and lengths of slices are multiples of, whatever the sectors: a slice is for any block size. */
export const SLICE_UNIT = 2 ** 20

/** Bytes that are zeroed or given back at a time: what whoever calls that off waits for, where zeros have to be written. */
export const CLEAR_STEP = 32 * 2 ** 20

export interface ImageOptions {
  readonly path: string
  /** Past the page cache. */
  readonly direct: boolean
  /** Whether a flush makes what was written last, or only says so. */
  readonly flushes: boolean
  readonly engine?: NonNullable<AsyncFileOptions['engine']>
}

export class Image {
  readonly path: string
  readonly file: AsyncFile
  /** Bytes, whole {@link SLICE_UNIT}s. What a file grows by later is seen when it is opened again. */
  readonly size: number
  /** Bytes that offsets and lengths are multiples of. */
  readonly sectorSize: number
  readonly flushes: boolean

  /**
   * Opens an image for nobody else.
   *
   * @throws ENOENT, EACCES, EROFS… what opening says · EINVAL too small, or no file nor block device; no direct I/O there ·
   *         EBUSY in use
   */
  constructor({ path, direct, flushes, engine }: ImageOptions) {
    this.path = path
    this.flushes = flushes
    this.file = open(path, { direct, exclusive: true, ...(engine === undefined ? {} : { engine }) })
    this.sectorSize = Math.max(512, this.file.alignment.offset)
    const { size } = this.file
    this.size = size - (size % SLICE_UNIT)
    if (this.size > 0) return
    void this.file.close()
    throw new ErrnoError('EINVAL', `image ${path}: ${size} bytes, ${SLICE_UNIT} are the least`)
  }
}

function open(path: string, options: AsyncFileOptions): AsyncFile {
  try {
    return new AsyncFile(path, options)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw new ErrnoError(
      'ENOENT',
      `image ${path}: not there; make one, such as: truncate -s 10G ${path}`,
      { cause: error },
    )
  }
}
