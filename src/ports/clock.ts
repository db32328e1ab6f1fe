/** Time as a port: production reads the kernel's clocks, the simulator its own. */
export interface Clock {
  /** Monotonic, integer microseconds; the origin is arbitrary but fixed for the process. */
  nowUs(): number;
  /** Wall clock, integer milliseconds since the epoch. Only for people, logs and certificates. */
  wallMs(): number;
  /** Calls `fire` once, at or after `atUs`, never inside this call. */
  setTimer(atUs: number, fire: () => void): Timer;
}

export interface Timer {
  /** Idempotent. After it returns `fire` will not be called. */
  cancel(): void;
}
