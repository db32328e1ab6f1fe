/** What user code does that it must not: each way out of the world, in each way of writing it. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as moduleTimeout } from 'node:timers';
import { setTimeout as promisedTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const saved = Date.now;
const file = fileURLToPath(import.meta.url);

export const savedNow = (): number => saved();
export const askDate = (): number => Date.now();
export const makeDate = (): Date => new Date();
export const callDate = (): string => (Date as unknown as () => string)();
export const askPerformance = (): number => performance.now();
export const askHrtime = (): unknown => process.hrtime();
export const askBigHrtime = (): bigint => process.hrtime.bigint();
export const throwDice = (): number => Math.random();
export const armTimer = (): unknown => setTimeout(() => {}, 1);
export const armImmediate = (): unknown => setImmediate(() => {});
export const armMicrotask = (): void => queueMicrotask(() => {});
export const armTick = (): void => process.nextTick(() => {});
export const armModuleTimer = (): unknown => moduleTimeout(() => {}, 1);
export const armPromisedTimer = (): unknown => promisedTimeout(1);
export const readNamedImport = (): string => readFileSync(file, 'utf8');
export const readPromised = (): unknown => readFile(file);
export const connectNamedImport = (): unknown => connect(1);
export const drawBytes = (): unknown => randomBytes(1);
export const drawUuid = (): string => globalThis.crypto.randomUUID();
export const drawValues = (): unknown => globalThis.crypto.getRandomValues(new Uint8Array(1));
export const startProcess = (): unknown => spawn('true');
export const makeWeakRef = (): unknown => new WeakRef({});
export const beAsync = async (): Promise<null> => null;
