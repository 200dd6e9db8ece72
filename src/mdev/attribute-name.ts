/** Names of what is shown and set: each is a file in sysfs, perhaps in a directory of its group. */
import { ErrnoError } from '../lib/errno.ts'

const PART = '[A-Za-z0-9_][A-Za-z0-9_.-]*'
const NAME = new RegExp(`^${PART}(/${PART})?$`)

/** A file or directory that an mdev, a type or a parent has anyway: of the core, the device core, or another tool. */
const TAKEN = {
  mdev: [
    'driver',
    'iommu_group',
    'mdev_type',
    'power',
    'remove',
    'subsystem',
    'uevent',
    'vfio-dev',
  ],
  type: ['available_instances', 'create', 'description', 'device_api', 'devices', 'name'],
  parent: ['driver', 'mdev_supported_types', 'power', 'subsystem', 'uevent'],
} as const

/** @throws EINVAL it cannot be a file's, in one directory at most */
export function checkAttributeName(name: string): void {
  if (!NAME.test(name))
    throw new ErrnoError('EINVAL', `attribute name ${JSON.stringify(name)}: NAME or GROUP/NAME`)
}

/** @throws EINVAL as {@link checkAttributeName}, or each such object has another file of that name */
export function checkDeclaredName(name: string, of: keyof typeof TAKEN): void {
  checkAttributeName(name)
  const [first = ''] = name.split('/')
  const taken: readonly string[] = TAKEN[of]
  if (taken.includes(first))
    throw new ErrnoError('EINVAL', `attribute ${name}: each ${of} has a ${first} of its own`)
}
