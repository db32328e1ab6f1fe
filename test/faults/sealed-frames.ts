/** Sealed frames made by hand, and sealed frames found on the wire. */
import type { FrameSealer } from '../../src/native.ts';
import { FRAME_TYPE, type FrameFields, HEADER_BYTES, headerCheck } from './frames.ts';

export const SEAL_BYTES = 28;
export const SEALED = 0x100;
const NONCE_BYTES = 12;
const MAGIC = 0x42435744;

/** As the peer that holds these keys would; `flags` besides the sealed bit. */
export function sealedFrame(sealer: FrameSealer, fields: FrameFields, body: Uint8Array): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt8(1, 4);
  header.writeUInt8(fields.type, 5);
  header.writeUInt32LE(body.length + SEAL_BYTES, 8);
  header.writeUInt32LE(fields.epoch ?? 1, 12);
  header.writeBigUInt64LE(BigInt(fields.transferId ?? 0), 16);
  header.writeBigUInt64LE(BigInt(fields.seq ?? 0), 24);
  const flags = (fields.flags ?? 0) | SEALED;
  if (fields.type === FRAME_TYPE.ack) {
    header.writeBigUInt64LE(BigInt(fields.credit ?? 0), 32);
    header.writeUInt16LE(flags, 40);
  } else {
    header.writeUInt16LE(fields.mapEntries ?? 0, 32);
    header.writeUInt16LE(flags, 34);
    header.writeUInt32LE(fields.rawBytes ?? 0, 36);
    header.writeUInt32LE(fields.rawBytes ?? 0, 40);
  }
  header.writeUInt16LE(headerCheck(header), 6);
  const isChunk = fields.type === FRAME_TYPE.chunkPages || fields.type === FRAME_TYPE.chunkBytes;
  const sealed = isChunk ? sealer.sealChunk(header, body) : sealer.sealSmall(header, body);
  return Buffer.concat([header, sealed.nonce, sealed.body, sealed.tag]);
}

export interface WireFrame {
  readonly type: number;
  readonly transferId: number;
  readonly seq: number;
  readonly isSealed: boolean;
  readonly nonce: string;
  readonly bytes: Buffer;
}

/** The frames of one direction of one connection; what is cut off at its end is left out. */
export function framesIn(wire: Buffer): WireFrame[] {
  const frames: WireFrame[] = [];
  for (let at = 0; at + HEADER_BYTES <= wire.length; ) {
    const header = wire.subarray(at, at + HEADER_BYTES);
    const end = at + HEADER_BYTES + header.readUInt32LE(8);
    if (end > wire.length) break;
    const type = header.readUInt8(5);
    const flags = header.readUInt16LE(type === FRAME_TYPE.ack ? 40 : 34);
    frames.push({
      ...{ type, transferId: Number(header.readBigUInt64LE(16)) },
      seq: Number(header.readBigUInt64LE(24)),
      isSealed: (flags & SEALED) !== 0,
      nonce: wire.subarray(at + HEADER_BYTES, at + HEADER_BYTES + NONCE_BYTES).toString('hex'),
      bytes: wire.subarray(at, end),
    });
    at = end;
  }
  return frames;
}
