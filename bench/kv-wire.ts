/**
 * The part of etcd's gRPC that the consensus benches speak: Put and Range of `etcdserverpb.KV`, Status of
 * `etcdserverpb.Maintenance`. Our own members serve Put and Range in the same words, so that one client
 * loads both.
 */
import protobuf from 'protobufjs/minimal.js';

export const PUT = '/etcdserverpb.KV/Put';
export const RANGE = '/etcdserverpb.KV/Range';
export const STATUS = '/etcdserverpb.Maintenance/Status';

export interface PutRequest {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface RangeRequest {
  readonly key: Uint8Array;
  /** Answered from what the asked member has applied, which may be old. */
  readonly isSerializable: boolean;
}

export interface RangeAnswer {
  /** Null when there is no such key. */
  readonly value: Uint8Array | null;
  /** Grows by one with every Put. */
  readonly revision: number;
}

export interface StatusAnswer {
  readonly member: string;
  /** '0' while there is none. */
  readonly leader: string;
}

type Fields = (field: number, reader: protobuf.Reader) => boolean;

/** `take` reads a field and says so, or leaves it to be skipped. */
function readFields(bytes: Uint8Array, take: Fields): void {
  const reader = protobuf.Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (!take(tag >>> 3, reader)) reader.skipType(tag & 7);
  }
}

const tagOf = (field: number, isBytes: boolean): number => field * 8 + (isBytes ? 2 : 0);

export function encodePut({ key, value }: PutRequest): Buffer {
  const writer = protobuf.Writer.create();
  writer.uint32(tagOf(1, true)).bytes(key).uint32(tagOf(2, true)).bytes(value);
  return writer.finish() as Buffer;
}

export function decodePut(bytes: Uint8Array): PutRequest {
  let key: Uint8Array = new Uint8Array();
  let value: Uint8Array = new Uint8Array();
  readFields(bytes, (field, reader) => {
    if (field === 1) key = reader.bytes();
    else if (field === 2) value = reader.bytes();
    else return false;
    return true;
  });
  return { key, value };
}

export function encodeRange({ key, isSerializable }: RangeRequest): Buffer {
  const writer = protobuf.Writer.create().uint32(tagOf(1, true)).bytes(key);
  if (isSerializable) writer.uint32(tagOf(7, false)).bool(true);
  return Buffer.from(writer.finish());
}

export function decodeRange(bytes: Uint8Array): RangeRequest {
  let key: Uint8Array = new Uint8Array();
  let isSerializable = false;
  readFields(bytes, (field, reader) => {
    if (field === 1) key = reader.bytes();
    else if (field === 7) isSerializable = reader.bool();
    else return false;
    return true;
  });
  return { key, isSerializable };
}

export function encodeRangeAnswer({ value, revision }: RangeAnswer): Buffer {
  const writer = protobuf.Writer.create();
  writer.uint32(tagOf(1, true)).fork().uint32(tagOf(3, false)).int64(revision).ldelim();
  if (value !== null)
    writer.uint32(tagOf(2, true)).fork().uint32(tagOf(5, true)).bytes(value).ldelim();
  return Buffer.from(writer.finish());
}

export function decodeRangeAnswer(bytes: Uint8Array): RangeAnswer {
  let value: Uint8Array | null = null;
  let revision = 0;
  readFields(bytes, (field, reader) => {
    if (field === 1) revision = decodeRevision(reader.bytes());
    else if (field === 2) {
      readFields(reader.bytes(), (inner, item) => {
        if (inner !== 5) return false;
        value = item.bytes();
        return true;
      });
    } else return false;
    return true;
  });
  return { value, revision };
}

function decodeRevision(header: Uint8Array): number {
  let revision = 0;
  readFields(header, (field, reader) => {
    if (field !== 3) return false;
    revision = Number(reader.int64());
    return true;
  });
  return revision;
}

export function decodeStatus(bytes: Uint8Array): StatusAnswer {
  let member = '';
  let leader = '0';
  readFields(bytes, (field, reader) => {
    if (field === 1) {
      readFields(reader.bytes(), (inner, item) => {
        if (inner !== 2) return false;
        member = item.uint64().toString();
        return true;
      });
    } else if (field === 4) leader = reader.uint64().toString();
    else return false;
    return true;
  });
  return { member, leader };
}
