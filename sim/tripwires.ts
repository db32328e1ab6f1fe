/**
 * What a simulation may not touch throws while a world steps, and names the caller: one forgotten
 * `Date.now()` makes a seed worthless. Patched when this module loads, before user code does, so that a
 * saved `const now = Date.now` and a named import of a built-in module are the patched ones too.
 */
import childProcess from 'node:child_process';
import crypto from 'node:crypto';
import dgram from 'node:dgram';
import dns from 'node:dns';
import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import os from 'node:os';
import { performance } from 'node:perf_hooks';
import timers from 'node:timers';
import timersPromises from 'node:timers/promises';
import tls from 'node:tls';
import workerThreads from 'node:worker_threads';
import { AssertionError } from '../src/util/assert.ts';

let stepping = 0;
let installed = false;

/** A simulated program reached out of its world. */
export class TripwireError extends AssertionError {
  /** Such as `Date.now`. */
  readonly what: string;
  /** `file:line:column` of the call. */
  readonly caller: string;

  constructor(what: string, instead: string) {
    const caller = callerHere();
    super(`${what} in a simulation, called at ${caller}: ${instead}`);
    this.what = what;
    this.caller = caller;
  }
}

/** The wires are live inside `run`, and only there. */
export function withTripwires<T>(run: () => T): T {
  stepping += 1;
  try {
    return run();
  } finally {
    stepping -= 1;
  }
}

const TIME = 'time comes from the Clock port';
const CHANCE = 'chance comes from a labelled random stream';
const DISK = 'files are behind the Disk and Storage ports';
const NETWORK = 'the network is behind a port';
const PROCESS = 'a simulated host has no process of its own';

/** Reads that answer the same in every run, or that the module loader may need. */
const HARMLESS: ReadonlySet<string> = new Set(['isIP', 'isIPv4', 'isIPv6', 'Stats', 'Dirent']);
const CHANCY = [
  ...['randomBytes', 'randomFill', 'randomFillSync', 'randomInt', 'randomUUID'],
  ...['getRandomValues', 'generateKeyPair', 'generateKeyPairSync', 'generateKeySync', 'pbkdf2'],
  ...['scrypt', 'hkdf'],
];

export function installTripwires(): void {
  if (installed) return;
  installed = true;
  patchDate();
  patch(Math, 'Math', ['random'], CHANCE);
  const clock = Object.getPrototypeOf(performance) as object;
  patch(clock, 'performance', ['now', 'mark', 'measure'], TIME);
  patch(process, 'process', ['hrtime', 'uptime', 'nextTick', 'cpuUsage', 'memoryUsage'], TIME);
  const clocks = ['setTimeout', 'setInterval', 'setImmediate'];
  patch(globalThis, 'globalThis', [...clocks, 'queueMicrotask'], TIME);
  patch(timers, 'node:timers', clocks, TIME);
  patch(timersPromises, 'node:timers/promises', clocks, TIME);
  patch(crypto, 'node:crypto', CHANCY, CHANCE);
  const webCrypto = Object.getPrototypeOf(crypto.webcrypto) as object;
  patch(webCrypto, 'crypto', ['getRandomValues', 'randomUUID'], CHANCE);
  const subtle = Object.getPrototypeOf(crypto.webcrypto.subtle) as object;
  patch(subtle, 'crypto.subtle', functionsOf(subtle), 'its answers come in no fixed order');
  patch(fs, 'node:fs', functionsOf(fs), DISK);
  patch(fsPromises, 'node:fs/promises', functionsOf(fsPromises), DISK);
  for (const [name, module] of Object.entries({ net, tls, dgram, dns, http, https })) {
    patch(module, `node:${name}`, functionsOf(module), NETWORK);
  }
  patch(globalThis, 'globalThis', ['fetch', 'WebSocket', 'BroadcastChannel'], NETWORK);
  patch(childProcess, 'node:child_process', functionsOf(childProcess), PROCESS);
  patch(workerThreads, 'node:worker_threads', ['Worker'], PROCESS);
  patch(os, 'node:os', ['hostname', 'loadavg', 'freemem', 'uptime', 'networkInterfaces'], PROCESS);
  const collected = 'when the collector runs is not repeatable';
  patch(globalThis, 'globalThis', ['WeakRef', 'FinalizationRegistry'], collected);
  syncBuiltinESMExports();
}

function functionsOf(module: object): string[] {
  return Object.getOwnPropertyNames(module).filter((name) => {
    const descriptor = Object.getOwnPropertyDescriptor(module, name);
    return typeof descriptor?.value === 'function' && name !== 'constructor' && !HARMLESS.has(name);
  });
}

/** A proxy keeps what hangs on the function: `hrtime.bigint`, `util.promisify.custom`, statics, `instanceof`. */
function patch(owner: object, ownerName: string, names: readonly string[], instead: string): void {
  const record = owner as Record<string, unknown>;
  for (const name of names) {
    const original = record[name];
    if (typeof original !== 'function') continue;
    const label = ownerName === 'globalThis' ? name : `${ownerName}.${name}`;
    const check = (): void => {
      if (stepping > 0) throw new TripwireError(label, instead);
    };
    const replaced = guarded(original, check);
    if (name === 'hrtime') {
      const hrtime = replaced as unknown as { bigint: () => bigint };
      hrtime.bigint = guarded(process.hrtime.bigint, check) as () => bigint;
    }
    const descriptor = Object.getOwnPropertyDescriptor(owner, name);
    if (descriptor?.writable === true || descriptor?.configurable === true) {
      Object.defineProperty(owner, name, { ...WRITABLE, value: replaced });
    }
  }
}

const WRITABLE = { configurable: true, enumerable: true, writable: true };

type AnyFunction = (...args: unknown[]) => unknown;

function guarded(original: unknown, check: () => void): AnyFunction {
  return new Proxy(original as AnyFunction, {
    apply: (target, self, args) => {
      check();
      return Reflect.apply(target, self, args);
    },
    construct: (target, args, newTarget) => {
      check();
      return Reflect.construct(target, args, newTarget) as object;
    },
  });
}

/** `new Date(ms)` is arithmetic and stays legal; asking what time it is does not. */
function patchDate(): void {
  const original = Date;
  const check = (what: string): void => {
    if (stepping > 0) throw new TripwireError(what, TIME);
  };
  const realNow = original.now;
  original.now = () => {
    check('Date.now');
    return realNow();
  };
  const proxy = new Proxy(original, {
    apply: (target) => {
      check('Date()');
      return target();
    },
    construct: (target, args, newTarget) => {
      if (args.length === 0) check('new Date()');
      return Reflect.construct(target, args, newTarget) as object;
    },
  });
  original.prototype.constructor = proxy;
  globalThis.Date = proxy;
}

/** The first frame outside this file. */
function callerHere(): string {
  // Writing a stack with source maps reads files.
  const live = stepping;
  stepping = 0;
  const frames = (new Error().stack ?? '').split('\n').slice(1);
  stepping = live;
  const frame = frames.find(
    (line) => !/[\\/]tripwires\.[jt]s\b/.test(line) && !/at Proxy\./.test(line),
  );
  return /\(?((?:file:\/\/)?[^\s(]+:\d+:\d+)\)?$/.exec(frame ?? '')?.[1] ?? 'an unknown place';
}

installTripwires();
