/**
 * Commands, answers and VMs as bytes: a kind in one byte, then the fields in the order of the type,
 * a number in eight bytes, a name behind its length in one.
 */
import { ByteReader, ByteWriter } from './bytes.ts';
import type {
  OwnershipAnswer,
  OwnershipCommand,
  OwnershipOrigin,
  OwnershipRefusal,
  VmOwnership,
} from './types.ts';

/** The place of a word is its byte: append only. */
const COMMANDS = [
  'register',
  'unregister',
  'prepare',
  'commit',
  'abort',
  'claim',
  'begin',
] as const satisfies readonly OwnershipCommand['type'][];

const REFUSALS: readonly OwnershipRefusal[] = [
  'unknownVm',
  'otherOwner',
  'otherEpoch',
  'otherMigration',
  'migrationPrepared',
  'migrationDecided',
  'notDestination',
  'sameHost',
  'clonedDirectory',
  'full',
];

const ORIGINS = ['registered', 'migrated', 'claimed'] as const;
const OK = 255;

export function encodeCommand(command: OwnershipCommand): Uint8Array {
  const writer = new ByteWriter().byte(COMMANDS.indexOf(command.type));
  switch (command.type) {
    case 'register':
      return writer.name(command.vm).name(command.host).finish();
    case 'unregister':
      return writer.name(command.vm).name(command.host).number(command.epoch).finish();
    case 'prepare':
      writer.name(command.vm).number(command.epoch).name(command.migrationId);
      return writer.name(command.from).name(command.to).finish();
    case 'commit':
      writer.name(command.vm).number(command.epoch).name(command.migrationId);
      return writer.name(command.host).finish();
    case 'abort':
      writer.name(command.vm).number(command.epoch).name(command.migrationId);
      return writer.name(command.host).name(command.reason).finish();
    case 'claim':
      writer.name(command.vm).number(command.epoch);
      return writer.name(command.host).name(command.operator).finish();
    case 'begin':
      return writer.name(command.host).number(command.life).name(command.nonce).finish();
  }
}

/** Null for bytes that {@link encodeCommand} never writes. */
export function decodeCommand(bytes: Uint8Array): OwnershipCommand | null {
  const reader = new ByteReader(bytes);
  const command = readCommand(reader);
  return reader.isWhole ? command : null;
}

function readCommand(reader: ByteReader): OwnershipCommand | null {
  const name = (): string => reader.name();
  const type = COMMANDS[reader.byte()];
  switch (type) {
    case 'register':
      return { type, vm: name(), host: name() };
    case 'unregister':
      return { type, vm: name(), host: name(), epoch: reader.number() };
    case 'prepare':
      return { type, ...readMigration(reader), from: name(), to: name() };
    case 'commit':
      return { type, ...readMigration(reader), host: name() };
    case 'abort':
      return { type, ...readMigration(reader), host: name(), reason: name() };
    case 'claim':
      return { type, vm: name(), epoch: reader.number(), host: name(), operator: name() };
    case 'begin':
      return { type, host: name(), life: reader.number(), nonce: name() };
    default:
      return reader.damaged(null);
  }
}

function readMigration(reader: ByteReader): {
  readonly vm: string;
  readonly epoch: number;
  readonly migrationId: string;
} {
  return { vm: reader.name(), epoch: reader.number(), migrationId: reader.name() };
}

export function encodeAnswer(answer: OwnershipAnswer): Uint8Array {
  const writer = new ByteWriter().byte(answer.ok ? OK : REFUSALS.indexOf(answer.code));
  writer.byte(answer.vm === null ? 0 : 1);
  if (answer.vm !== null) writeVm(writer, answer.vm);
  return writer.finish();
}

/** Null for bytes that {@link encodeAnswer} never writes. */
export function decodeAnswer(bytes: Uint8Array): OwnershipAnswer | null {
  const reader = new ByteReader(bytes);
  const verdict = reader.byte();
  const vm = readOptional(reader, () => readVm(reader));
  const code = REFUSALS[verdict];
  if (!reader.isWhole || (verdict !== OK && code === undefined)) return null;
  return code === undefined ? { ok: true, vm } : { ok: false, code, vm };
}

export function writeVm(
  writer: ByteWriter,
  { vm, owner, epoch, by, migration }: VmOwnership,
): void {
  writer.name(vm).name(owner).number(epoch).byte(ORIGINS.indexOf(by.type));
  if (by.type === 'migrated') writer.name(by.migrationId).name(by.from);
  if (by.type === 'claimed') writer.name(by.operator).name(by.from);
  writer.byte(migration === null ? 0 : 1);
  if (migration !== null) writer.name(migration.migrationId).name(migration.to);
}

export function readVm(reader: ByteReader): VmOwnership {
  return {
    vm: reader.name(),
    owner: reader.name(),
    epoch: reader.number(),
    by: readOrigin(reader),
    migration: readOptional(reader, () => ({ migrationId: reader.name(), to: reader.name() })),
  };
}

function readOrigin(reader: ByteReader): OwnershipOrigin {
  const type = ORIGINS[reader.byte()];
  switch (type) {
    case 'registered':
      return { type };
    case 'migrated':
      return { type, migrationId: reader.name(), from: reader.name() };
    case 'claimed':
      return { type, operator: reader.name(), from: reader.name() };
    default:
      return reader.damaged({ type: 'registered' });
  }
}

function readOptional<T>(reader: ByteReader, read: () => T): T | null {
  const present = reader.byte();
  if (present > 1) return reader.damaged(null);
  return present === 1 ? read() : null;
}
