/** A client of an etcd member, or of one of ours, over one gRPC connection. */
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  decodeRangeAnswer,
  decodeStatus,
  encodePut,
  encodeRange,
  PUT,
  type PutRequest,
  RANGE,
  type RangeAnswer,
  type RangeRequest,
  STATUS,
  type StatusAnswer,
} from './kv-wire.ts';

const ANSWER_WITHIN_MS = 20_000;
const MESSAGE_BYTES_MAX = 16 * 2 ** 20;

export class KvClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    });
  }

  put(request: PutRequest, done: (error: Error | null) => void): void {
    this.#call(PUT, encodePut(request), (error) => done(error));
  }

  range(
    request: RangeRequest,
    done: (error: Error | null, answer: RangeAnswer | null) => void,
  ): void {
    this.#call(RANGE, encodeRange(request), (error, bytes) => {
      done(error, bytes === null ? null : decodeRangeAnswer(bytes));
    });
  }

  read(request: RangeRequest): Promise<RangeAnswer> {
    return new Promise((resolve, reject) => {
      this.range(request, (error, answer) => (answer === null ? reject(error) : resolve(answer)));
    });
  }

  status(): Promise<StatusAnswer> {
    return new Promise((resolve, reject) => {
      this.#call(STATUS, Buffer.alloc(0), (error, bytes) => {
        if (bytes === null) reject(error);
        else resolve(decodeStatus(bytes));
      });
    });
  }

  close(): void {
    this.#client.close();
  }

  #call(
    path: string,
    request: Buffer,
    done: (error: Error | null, bytes: Buffer | null) => void,
  ): void {
    this.#client.makeUnaryRequest(
      path,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      request,
      // A member that has just been started may not listen yet.
      new Metadata({ waitForReady: true }),
      { deadline: Date.now() + ANSWER_WITHIN_MS },
      (error: ServiceError | null, bytes?: Buffer) => done(error, bytes ?? null),
    );
  }
}
