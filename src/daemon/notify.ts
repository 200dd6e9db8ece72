/** What systemd hands to a service, and what it wants to hear from it. Started by anybody else, all of it is nothing. */
import { describeError } from '../lib/errno.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/log.ts'
import { sendDatagram } from '../os/notify-socket.ts'

/** <systemd/sd-daemon.h> */
const SD_LISTEN_FDS_START = 3

export interface ServiceManager {
  /** Listening sockets that were made for us, in the order of the unit; ours now. */
  readonly listenFds: readonly number[]
  /** Where notifications go. */
  readonly notifySocket?: string
  /** How often we must be heard of, ms. */
  readonly watchdogMs?: number
}

/**
 * Takes what is meant for this process out of its environment, so that no host inherits it.
 *
 * @see sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3)
 */
export function takeServiceManager(
  environment: NodeJS.ProcessEnv = process.env,
  pid = process.pid,
): ServiceManager {
  const { NOTIFY_SOCKET: socket, LISTEN_FDS, LISTEN_PID, WATCHDOG_USEC, WATCHDOG_PID } = environment
  for (const name of NAMES) delete environment[name]
  const count = LISTEN_PID === String(pid) ? countOf(LISTEN_FDS) : 0
  const watchdog = [undefined, String(pid)].includes(WATCHDOG_PID) ? countOf(WATCHDOG_USEC) : 0
  return {
    listenFds: Array.from({ length: count }, (_, index) => SD_LISTEN_FDS_START + index),
    ...(socket === undefined || socket === '' ? {} : { notifySocket: socket }),
    ...(watchdog === 0 ? {} : { watchdogMs: watchdog / 1000 }),
  }
}

const NAMES = [
  'NOTIFY_SOCKET',
  'LISTEN_FDS',
  'LISTEN_PID',
  'LISTEN_FDNAMES',
  'WATCHDOG_USEC',
  'WATCHDOG_PID',
]

function countOf(text: string | undefined): number {
  return /^\d+$/.test(text ?? '') ? Number(text) : 0
}

/** Tells the service manager how it stands. */
export class Notifier {
  readonly #manager: ServiceManager
  readonly #clock: Pick<Clock, 'every'>
  readonly #log: Logger
  #stopWatchdog = (): void => {}

  constructor(manager: ServiceManager, clock: Pick<Clock, 'every'>, log: Logger) {
    this.#manager = manager
    this.#clock = clock
    this.#log = log
  }

  /** It serves; from now on the watchdog hears of it, twice as often as it must. @param status for people */
  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`)
    const { watchdogMs } = this.#manager
    if (watchdogMs === undefined) return
    this.#stopWatchdog = this.#clock.every(watchdogMs / 2, () => this.#send('WATCHDOG=1'))
  }

  /** It reads its configuration again; {@link reloaded} ends that. */
  reloading(): void {
    const now = process.hrtime.bigint() / 1000n // CLOCK_MONOTONIC
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${now}`)
  }

  /** @param status for people */
  reloaded(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`)
  }

  /** It ends. */
  stopping(): void {
    this.#stopWatchdog()
    this.#send('STOPPING=1')
  }

  /** A manager that does not listen stops nothing. */
  #send(text: string): void {
    const { notifySocket } = this.#manager
    if (notifySocket === undefined) return
    try {
      sendDatagram(notifySocket, text)
    } catch (error) {
      this.#log.warn(`notifying the service manager: ${describeError(error)}`)
    }
  }
}
