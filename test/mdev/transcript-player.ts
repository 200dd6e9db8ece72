/** Plays the cases of kernel-mdev-transcript.md on a machine, whatever it is managed by. */
import assert from 'node:assert/strict'
import { errnoCode, errnoOf } from '../../src/lib/errno.ts'
import type { AttributeTexts } from '../../src/mdev/attribute.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import type { Client } from './support.ts'

/** A machine with mdevs, as an administrator can reach it. What is refused is an error with an errno. */
export interface Surface extends AsyncDisposable {
  register(parent: string, driver: Driver): Promise<void>
  /** Resolves when all its mdevs are gone, for which it waits. */
  unregister(parent: string): Promise<void>
  /** @param attributes what it is to be created with, which the kernel has no word for, and mdevctl has */
  create(parent: string, type: string, uuid: string, attributes: AttributeTexts): Promise<void>
  remove(uuid: string, options?: { readonly wait?: boolean }): Promise<void>
  /** Writes attributes of an mdev. */
  change(uuid: string, attributes: AttributeTexts): Promise<void>
  /** Those that an mdev was given, in their order. */
  attributes(uuid: string): Promise<AttributeTexts>
  /** Whether it takes this for a UUID, or for none to be had, where the kernel takes it for nothing. */
  reads?(uuid: string): boolean
  /** How many more there can be of each type of a parent; undefined where the parent is not there. */
  available(parent: string): Promise<Readonly<Record<string, number>> | undefined>
  /** UUIDs of those that can be used, sorted. */
  mdevs(): Promise<readonly string[]>
  /** Has an mdev opened by a client. */
  open(uuid: string): Client
  /** The next thing that is told: `add UUID`, `registered PARENT`. */
  event(): Promise<string>
}

/** The UUID of instance N, as the transcript's `u N`. */
export function u(number: number): string {
  return `${number.toString(16).padStart(8, '0')}-0000-4000-8000-${number.toString(16).padStart(12, '0')}`
}

type Counts = Readonly<Record<string, number>>

export class Player {
  readonly #surface: Surface

  constructor(surface: Surface) {
    this.#surface = surface
  }

  /** Some parents are there, and their coming has been told. */
  async has(parents: Readonly<Record<string, Driver>>): Promise<void> {
    for (const [name, driver] of Object.entries(parents)) {
      await this.#surface.register(name, driver)
      await this.tells(`registered ${name}`)
    }
  }

  /** @param type `parent/type` */
  async creates(type: string, uuid: number | string, counts?: Counts): Promise<void> {
    const [parent, name] = split(type)
    await this.#surface.create(parent, name, uuidOf(uuid), [])
    if (counts !== undefined) await this.sees(parent, counts)
  }

  async refuses(
    code: string,
    type: string,
    uuid: number | string,
    counts?: Counts,
    attributes: AttributeTexts = [],
  ): Promise<void> {
    const [parent, name] = split(type)
    if (this.#surface.reads?.(uuidOf(uuid)) === true) return
    assert.equal(
      await codeOf(this.#surface.create(parent, name, uuidOf(uuid), attributes)),
      code,
      `${type} ${uuid}`,
    )
    if (counts !== undefined) await this.sees(parent, counts)
  }

  async removes(uuid: number | string): Promise<void> {
    await this.#surface.remove(uuidOf(uuid))
  }

  async writes(uuid: number, name: string, text: string): Promise<void> {
    await this.#surface.change(u(uuid), [[name, text]])
  }

  async refusesToWrite(code: string, uuid: number, name: string, text: string): Promise<void> {
    const answer = await codeOf(this.#surface.change(u(uuid), [[name, text]]))
    assert.equal(answer, code, `${uuid}/${name} ${text}`)
  }

  /** What an mdev has been given. */
  async hasAttributes(uuid: number, attributes: AttributeTexts): Promise<void> {
    assert.deepEqual(await this.#surface.attributes(u(uuid)), attributes)
  }

  async refusesToRemove(code: string, uuid: number | string): Promise<void> {
    assert.equal(await codeOf(this.#surface.remove(uuidOf(uuid))), code, `remove ${uuid}`)
  }

  /** As a write to `remove`, which waits for the client. */
  waitsToRemove(uuid: number): Promise<void> {
    return this.#surface.remove(u(uuid), { wait: true })
  }

  async unregisters(parent: string): Promise<void> {
    await this.#surface.unregister(parent)
  }

  /** Has an mdev opened. */
  opens(uuid: number): Client {
    return this.#surface.open(u(uuid))
  }

  /** What `available_instances` of a parent's types are. */
  async sees(parent: string, counts: Counts | undefined): Promise<void> {
    assert.deepEqual(await this.#surface.available(parent), counts, parent)
  }

  /** What `ls /sys/bus/mdev/devices` shows. */
  async lists(...uuids: readonly (number | string)[]): Promise<void> {
    assert.deepEqual(await this.#surface.mdevs(), uuids.map(uuidOf).toSorted())
  }

  /** What is told next, in that order: `add 1 bind 1` is of `u 1`. */
  async tells(...events: readonly string[]): Promise<void> {
    for (const event of events) {
      const [action = '', of = ''] = event.split(' ')
      const about = /^\d+$/.test(of) ? u(Number(of)) : of
      assert.equal(await this.#surface.event(), `${action} ${about}`)
    }
  }

  /** How many creations at once end how: `ok`, or an errno. */
  async createAtOnce(wanted: readonly (readonly [type: string, uuid: number])[]): Promise<Counts> {
    return tally(
      wanted.map(([type, uuid]) => {
        const [parent, name] = split(type)
        return this.#surface.create(parent, name, u(uuid), [])
      }),
    )
  }

  async removeAtOnce(uuids: readonly number[]): Promise<Counts> {
    return tally(uuids.map((uuid) => this.#surface.remove(u(uuid))))
  }
}

async function tally(attempts: readonly Promise<void>[]): Promise<Counts> {
  const counts: Record<string, number> = {}
  for (const code of await Promise.all(attempts.map(codeOf))) counts[code] = (counts[code] ?? 0) + 1
  return counts
}

async function codeOf(attempt: Promise<void>): Promise<string> {
  try {
    await attempt
    return 'ok'
  } catch (error) {
    return errnoCode(errnoOf(error))
  }
}

function uuidOf(uuid: number | string): string {
  return typeof uuid === 'number' ? u(uuid) : uuid
}

function split(type: string): [parent: string, name: string] {
  const [parent = '', name = ''] = type.split('/')
  return [parent, name]
}
