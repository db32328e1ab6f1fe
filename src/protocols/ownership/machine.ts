/** The replicated table of owners: an {@link Application} under Raft, the same on every replica. */
import { assert } from '../../util/assert.ts';
import type { Application } from '../raft/sessions/machine.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { decodeCommand, encodeAnswer, readVm, writeVm } from './codec.ts';
import { rule, type VmCommand, type VmRecord } from './rules.ts';
import type { OwnershipAnswer, OwnershipCommand, VmOwnership } from './types.ts';

/** Part of the replicated state's meaning: the same on every replica. */
export interface OwnershipLimits {
  readonly vms: number;
  readonly hosts: number;
}

export const OWNERSHIP_LIMITS: OwnershipLimits = { vms: 4096, hosts: 256 };

/** What the log knows of one host's data directory. */
export interface HostLife {
  readonly life: number;
  readonly nonce: string;
}

export interface OwnershipMachineOptions {
  readonly limits?: OwnershipLimits;
  /** In log order, after the change is made; a snapshot's changes come in the order of their names. */
  readonly onChange?: (vm: string, now: VmOwnership | null) => void;
}

type BeginCommand = Extract<OwnershipCommand, { readonly type: 'begin' }>;

export class OwnershipMachine implements Application {
  readonly #limits: OwnershipLimits;
  readonly #onChange: (vm: string, now: VmOwnership | null) => void;
  #vms: Map<string, VmRecord> = new Map();
  #hosts: Map<string, HostLife> = new Map();
  /** The highest epoch of a VM that is gone: a namesake begins above it, so no epoch ever returns. */
  #epochGone = 0;

  constructor(options: OwnershipMachineOptions = {}) {
    this.#limits = options.limits ?? OWNERSHIP_LIMITS;
    this.#onChange = options.onChange ?? (() => {});
  }

  get(vm: string): VmOwnership | null {
    return this.#vms.get(vm)?.state ?? null;
  }

  /** Sorted by name. */
  list(): readonly VmOwnership[] {
    return sorted(this.#vms).map(([, { state }]) => state);
  }

  lifeOf(host: string): HostLife | null {
    return this.#hosts.get(host) ?? null;
  }

  /** Bytes that are no command of ours change nothing, and are answered like a VM nobody knows. */
  execute(bytes: Uint8Array): Uint8Array {
    const command = decodeCommand(bytes);
    if (command === null) return encodeAnswer({ ok: false, code: 'unknownVm', vm: null });
    return encodeAnswer(this.apply(command));
  }

  apply(command: OwnershipCommand): OwnershipAnswer {
    return command.type === 'begin' ? this.#begin(command) : this.#applyToVm(command);
  }

  #applyToVm(command: VmCommand): OwnershipAnswer {
    const before = this.#vms.get(command.vm) ?? null;
    const ruling = rule(before, command, this.#epochGone + 1);
    if (!ruling.ok) return { ok: false, code: ruling.code, vm: before?.state ?? null };
    const { next } = ruling;
    if (next === before) return { ok: true, vm: before?.state ?? null };
    const isNew = before === null && next !== null;
    if (isNew && this.#vms.size >= this.#limits.vms) return { ok: false, code: 'full', vm: null };
    if (next === null) {
      this.#vms.delete(command.vm);
      this.#epochGone = Math.max(this.#epochGone, before?.state.epoch ?? 0);
    } else {
      this.#vms.set(command.vm, next);
    }
    const now = next?.state ?? null;
    if (now !== before?.state) this.#onChange(command.vm, now);
    return { ok: true, vm: now };
  }

  /**
   * A copy of a data directory remembers the same last life, so that the second of the two to begin
   * the next one is found out; one restored from an old copy remembers too little.
   */
  #begin({ host, life, nonce }: BeginCommand): OwnershipAnswer {
    const known = this.#hosts.get(host);
    const isRepeated = known?.life === life && known.nonce === nonce;
    if (isRepeated) return { ok: true, vm: null };
    if (known !== undefined && life <= known.life) {
      return { ok: false, code: 'clonedDirectory', vm: null };
    }
    if (known === undefined && this.#hosts.size >= this.#limits.hosts) {
      return { ok: false, code: 'full', vm: null };
    }
    this.#hosts.set(host, { life, nonce });
    return { ok: true, vm: null };
  }

  encode(): Uint8Array {
    const writer = new ByteWriter().number(this.#epochGone).number(this.#hosts.size);
    for (const [host, { life, nonce }] of sorted(this.#hosts)) {
      writer.name(host).number(life).name(nonce);
    }
    writer.number(this.#vms.size);
    for (const [, { state, aborted }] of sorted(this.#vms)) {
      writeVm(writer, state);
      writer.byte(aborted.length);
      for (const migrationId of aborted) writer.name(migrationId);
    }
    return writer.finish();
  }

  /** Takes the place of everything; `bytes` are exactly what `encode` wrote. */
  restore(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes);
    const before = this.#vms;
    this.#vms = new Map();
    this.#hosts = new Map();
    this.#epochGone = reader.number();
    for (let left = reader.number(); left > 0 && !reader.isDamaged; left -= 1) {
      this.#hosts.set(reader.name(), { life: reader.number(), nonce: reader.name() });
    }
    for (let left = reader.number(); left > 0 && !reader.isDamaged; left -= 1) {
      const state = readVm(reader);
      const aborted = Array.from({ length: reader.byte() }, () => reader.name());
      this.#vms.set(state.vm, { state, aborted });
    }
    assert(reader.isWhole, 'the digest of the snapshot was checked');
    this.#tellDifferences(before);
  }

  #tellDifferences(before: ReadonlyMap<string, VmRecord>): void {
    for (const vm of [...new Set([...before.keys(), ...this.#vms.keys()])].sort()) {
      const [was, now] = [before.get(vm)?.state ?? null, this.get(vm)];
      if (!isSame(was, now)) this.#onChange(vm, now);
    }
  }
}

function isSame(a: VmOwnership | null, b: VmOwnership | null): boolean {
  if (a === null || b === null) return a === b;
  const [left, right] = [a, b].map((state) => {
    const writer = new ByteWriter();
    writeVm(writer, state);
    return writer.finish();
  });
  return left?.length === right?.length && left?.every((byte, at) => byte === right?.[at]) === true;
}

function sorted<T>(map: ReadonlyMap<string, T>): readonly (readonly [string, T])[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
