/** What the disk says, as NVMe status. */
import type { ErrnoError } from 'mdevkit'
import { STATUS } from './spec.ts'

/** What was being done. */
export type DiskAccess = 'read' | 'write'

/** @returns a status, without Do Not Retry */
export function statusOfDisk(error: ErrnoError, access: DiskAccess): number {
  switch (error.code) {
    case 'EFAULT':
    case 'EACCES':
      return STATUS.DATA_TRANSFER_ERROR // of the guest's memory
    case 'EROFS':
      return STATUS.NAMESPACE_WRITE_PROTECTED
    case 'ENOSPC':
    case 'EDQUOT':
      return STATUS.CAPACITY_EXCEEDED
    case 'EAGAIN':
      return STATUS.NAMESPACE_NOT_READY
    case 'ESHUTDOWN':
    case 'ECANCELED':
      return STATUS.ABORT_REQUESTED
    default:
      return access === 'read' ? STATUS.UNRECOVERED_READ_ERROR : STATUS.WRITE_FAULT
  }
}

/** Whether it is the disk that has failed, rather than the guest or whoever runs this. */
export function isMediaError(status: number): boolean {
  return status === STATUS.UNRECOVERED_READ_ERROR || status === STATUS.WRITE_FAULT
}

/** Whether it is the guest who was wrong, and would be again. */
export function isOfGuest(status: number): boolean {
  return status === STATUS.DATA_TRANSFER_ERROR || status === STATUS.NAMESPACE_WRITE_PROTECTED
}
