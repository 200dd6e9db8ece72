/** Running something as an ordinary user, who may use /dev/fuse as Debian has it, whatever this machine says. */

export const USER = 65534 // nobody
export const AS_USER = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups']
/** Followed by a script: in a mount namespace of its own. */
export const PRIVATELY = ['unshare', '--mount', '--propagation=private', 'bash', '-c']
/** A script that runs its arguments. */
export const OWN_DEVICE = `
  command -v fusermount3 > /dev/null || { echo 'no fusermount3: install fuse3'; exit 1; }
  mount -t tmpfs -o dev tmpfs /mnt && mknod -m 666 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && exec "$@"`
