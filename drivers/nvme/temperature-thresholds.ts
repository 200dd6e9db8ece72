/** Temperature Threshold (5.21.1.4): from where on SMART warns. There is one temperature, the composite. */
import { SELECT, STATUS, TEMPERATURE } from './spec.ts'
import { StatusError } from './status-error.ts'

/** Kelvin: 70 degrees Celsius, and what is never reached. */
const DEFAULTS: readonly number[] = [343, 0]

export class TemperatureThresholds {
  /** Kelvin: the upper one and the lower one, in the order in which they are selected. */
  readonly #thresholds = [...DEFAULTS]

  /** @param selector dword 11 of the command @throws StatusError */
  get(selector: number, select: number): number {
    const thresholds = select === SELECT.CURRENT ? this.#thresholds : DEFAULTS
    return thresholds[whichOf(selector, false)]!
  }

  /** @param value dword 11 of the command: which, and kelvin @throws StatusError */
  set(value: number): void {
    this.#thresholds[whichOf(value, true)] = value & TEMPERATURE.THRESHOLD
  }

  /** Whether a temperature has reached one of them. */
  isAlarming(kelvin: number): boolean {
    const [over, under] = this.#thresholds
    return kelvin >= over! || kelvin <= under!
  }
}

/** @param all whether all sensors may be meant, instead of the composite */
function whichOf(dword: number, all: boolean): number {
  const sensor = (dword >>> TEMPERATURE.SENSOR_SHIFT) & TEMPERATURE.SENSOR
  const which = (dword >>> TEMPERATURE.WHICH_SHIFT) & TEMPERATURE.WHICH
  const isThere = sensor === 0 || (all && sensor === TEMPERATURE.ALL_SENSORS)
  if (!isThere || which >= DEFAULTS.length) throw new StatusError(STATUS.INVALID_FIELD)
  return which
}
