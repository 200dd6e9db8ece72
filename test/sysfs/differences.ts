/** Where the tree differs from the kernel's on purpose. docs/sysfs.md gives the reasons, under the same titles. */

export interface Difference {
  readonly title: string
  /** In the kernel's transcript… */
  readonly kernel: RegExp
  /** …and what stands there instead. */
  readonly ours: string
}

export const DIFFERENCES: readonly Difference[] = [
  {
    title: 'A driver is no kernel module',
    kernel: /^lrwxrwxrwx(?: 0)? module -> .*\n/gm,
    ours: '',
  },
  {
    title: 'A driver cannot be unbound',
    kernel:
      /^(\$ sw \/sys\/bus\/mdev\/drivers\/mtty\/unbind "\$UT") {3}-> write\(36\) = 36\n\$ ls \$D\/\$UT\/\n(?:[a-z_]+\n)+\$ cat \S+\n24\n/gm,
    ours: '$1   -> write(36) = -EOPNOTSUPP\n',
  },
  {
    title: 'A driver cannot be unbound',
    kernel: /^\$ ls -d \$D\/\$UT\/driver\n.*\n\[exit status 1\]\n/gm,
    ours: '',
  },
]
