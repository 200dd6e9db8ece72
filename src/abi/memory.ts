/** <sys/mman.h>, <linux/memfd.h>, and of <fcntl.h> file seals and what lseek looks for. */

export const PROT_NONE = 0
export const PROT_READ = 1
export const PROT_WRITE = 2
export const MAP_SHARED = 0x01
export const MAP_PRIVATE = 0x02
export const MAP_FIXED = 0x10
export const MAP_ANONYMOUS = 0x20
export const MAP_NORESERVE = 0x4000

export const MFD_CLOEXEC = 0x1
export const MFD_ALLOW_SEALING = 0x2

export const F_GETFL = 3
export const F_SETFL = 4
export const F_ADD_SEALS = 1033
export const F_GET_SEALS = 1034
export const F_SEAL_SEAL = 0x1
export const F_SEAL_SHRINK = 0x2
export const F_SEAL_GROW = 0x4
export const F_SEAL_WRITE = 0x8
export const F_SEAL_FUTURE_WRITE = 0x10

export const SEEK_DATA = 3
export const SEEK_HOLE = 4

export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
