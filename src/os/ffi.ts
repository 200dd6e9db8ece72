/**
 * The FFI layer: how a C function of this process is called, and what a failing system call throws.
 *
 * Pointers cross as numbers (`uintptr_t`): user addresses are below 2^47. Structs cross as bytes, never as FFI structs.
 */
import koffi from 'koffi'
import { ErrnoError, errnoCode } from '../lib/errno.ts'

/** A C function; numbers in, a number out. */
export type CFunction = (...args: number[]) => number

/** Everything that the node binary links or exports: the C library, and libuv. */
const self = koffi.load(null)

/** C types that this layer uses; `size` covers size_t, ssize_t and pointers. */
const C_TYPES = {
  void: 'void',
  int: 'int',
  u32: 'unsigned int',
  u64: 'uint64_t',
  ptr: 'uintptr_t',
  size: 'intptr_t',
}
export type CType = keyof typeof C_TYPES

/** Declares a function of the C library or libuv. @throws Error where this process does not export it */
export function cFunction(name: string, result: CType, args: readonly CType[]): CFunction {
  return self.func(
    name,
    C_TYPES[result],
    args.map((type) => C_TYPES[type]),
  ) as CFunction
}

/** The same, called on a thread of libuv's pool; `done` gets the result. */
export function cFunctionAsync(
  name: string,
  result: CType,
  args: readonly CType[],
): (args: readonly number[], done: (error: unknown, result: number) => void) => void {
  const call = self.func(
    name,
    C_TYPES[result],
    args.map((type) => C_TYPES[type]),
  )
  return (values, done) => {
    call.async(...values, done)
  }
}

/** The errno of the last call that failed. */
export function lastErrno(): number {
  return koffi.errno()
}

/**
 * The address of `bytes`. Take it only where something keeps `bytes` alive: the collector frees what is not referenced
 * under the kernel's hands.
 */
export function addressOf(bytes: ArrayBufferView): number {
  return Number(koffi.address(bytes))
}

/** The bytes at `address`, without a copy and without an owner: they must stay mapped while any view of them lives. */
export function bytesAt(address: number, length: number): ArrayBuffer {
  return koffi.view(BigInt(address), length)
}

const calloc = cFunction('calloc', 'ptr', ['size', 'size'])

/** The address of zeroed memory that is never freed: for what the kernel or libuv keeps a pointer to. */
export function permanent(size: number): number {
  return calloc(1, size)
}

/** Registers `callback` as a C function pointer for the life of the process. */
export function cCallback(args: readonly CType[], callback: (...args: number[]) => void): number {
  const type = koffi.proto(`void (${args.map((arg) => C_TYPES[arg]).join(', ')})`)
  return Number(koffi.address(koffi.register(callback, koffi.pointer(type))))
}

/** What a system call that returned -1 throws. @param what subject and verb: `mmap memfd, 4 MiB` */
export function systemError(what: string): ErrnoError {
  const code = errnoCode(lastErrno())
  return new ErrnoError(code, what)
}

/** `result`, unless it says failure. @throws the errno of the call */
export function check(result: number, what: string): number {
  if (result < 0) throw systemError(what)
  return result
}
