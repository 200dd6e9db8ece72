/** The `power` directory that every device has: what it says of a device without power management. */
import { ErrnoError } from '../lib/errno.ts'
import { AttributeFile, constantFile } from './attribute-file.ts'
import { Directory, type Entry, type Tell } from './directory.ts'

export function powerDirectory(tell: Tell): Directory {
  return new Directory(tell, files)
}

function files(): Entry[] {
  return [
    ['async', constantFile(0o644, 'disabled\n', /^(enabled|disabled)\n?$/)],
    ['autosuspend_delay_ms', new AttributeFile(0o644, { show: refuse, store: refuse })],
    ['control', constantFile(0o644, 'auto\n', /^(auto|on)\n?$/)],
    ['runtime_active_kids', constantFile(0o444, '0\n')],
    ['runtime_active_time', constantFile(0o444, '0\n')],
    ['runtime_enabled', constantFile(0o444, 'disabled\n')],
    ['runtime_status', constantFile(0o444, 'unsupported\n')],
    ['runtime_suspended_time', constantFile(0o444, '0\n')],
    ['runtime_usage', constantFile(0o444, '0\n')],
  ]
}

function refuse(): never {
  throw new ErrnoError('EIO', 'autosuspend_delay_ms: the device does not suspend by itself')
}
