/** <sys/mount.h>. */

export const MS_NOSUID = 2
export const MS_NODEV = 4
export const MS_NOEXEC = 8

export const MNT_DETACH = 2
export const UMOUNT_NOFOLLOW = 8
