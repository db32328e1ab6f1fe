/** Put and Range of one of our members, over gRPC in etcd's words. */
import { Server, ServerCredentials, type ServiceError, status } from '@grpc/grpc-js';
import type { ReplicaMessage } from '../src/actors/replica-messages.ts';
import type { ActorRef } from '../src/actors/system.ts';
import type { KvStore } from './kv-store.ts';
import { decodeRange, encodeRangeAnswer, PUT, RANGE, type RangeRequest } from './kv-wire.ts';

const PATIENCE_MS = 20_000;
const MESSAGE_BYTES_MAX = 16 * 2 ** 20;
/** etcd's answer to a Put is a header; ours says no more than that it is done. */
const DONE = Buffer.alloc(0);

interface Call<Q> {
  readonly request: Q;
}
type Answer<A> = (error: Partial<ServiceError> | null, value?: A) => void;

export async function serveKv(replica: ActorRef<ReplicaMessage>, store: KvStore): Promise<number> {
  const server = new Server({ 'grpc.max_receive_message_length': MESSAGE_BYTES_MAX });
  const asBytes = (bytes: Buffer): Buffer => bytes;
  const unary = { requestStream: false, responseStream: false } as const;
  const definition = {
    put: {
      ...{ ...unary, path: PUT, requestDeserialize: asBytes, requestSerialize: asBytes },
      ...{ responseSerialize: asBytes, responseDeserialize: asBytes },
    },
    range: {
      ...{ ...unary, path: RANGE, requestDeserialize: decodeRange, requestSerialize: () => DONE },
      ...{ responseSerialize: asBytes, responseDeserialize: asBytes },
    },
  };
  server.addService(definition, {
    // The request is the command: nobody on the way needs to know what is in it.
    put: ({ request }: Call<Buffer>, answer: Answer<Buffer>) => {
      replica.tell({
        type: 'propose',
        command: request,
        patienceMs: PATIENCE_MS,
        done: (outcome) => {
          if (outcome.ok) answer(null, DONE);
          else answer(unavailable(outcome.error));
        },
      });
    },
    range: ({ request }: Call<RangeRequest>, answer: Answer<Buffer>) => {
      replica.tell({
        type: 'read',
        guarantee: { kind: request.isSerializable ? 'stale' : 'linearizable' },
        patienceMs: PATIENCE_MS,
        done: (outcome) => {
          if (!outcome.ok) return answer(unavailable(outcome.error));
          const { revision } = store.count;
          answer(null, encodeRangeAnswer({ value: store.get(request.key), revision }));
        },
      });
    },
  });
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

function unavailable(error: Error): Partial<ServiceError> {
  return { code: status.UNAVAILABLE, details: error.message };
}
