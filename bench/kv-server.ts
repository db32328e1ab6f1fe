/** Put and Range of one of our members, over gRPC in etcd's words. */
import type { ReplicaMessage } from '../src/actors/replica-messages.ts';
import type { ActorRef } from '../src/actors/system.ts';
import { serveUnary, type UnaryMethod } from './grpc-unary.ts';
import type { KvStore } from './kv-store.ts';
import { decodeRange, encodeRangeAnswer, PUT, RANGE } from './kv-wire.ts';

const PATIENCE_MS = 20_000;
/** etcd's answer to a Put is a header; ours says no more than that it is done. */
const DONE = Buffer.alloc(0);

export function serveKv(replica: ActorRef<ReplicaMessage>, store: KvStore): Promise<number> {
  // The request is the command: nobody on the way needs to know what is in it.
  const put: UnaryMethod = (command, answer) => {
    replica.tell({
      type: 'propose',
      command,
      patienceMs: PATIENCE_MS,
      done: (outcome) => answer(outcome.ok ? null : outcome.error, DONE),
    });
  };
  const range: UnaryMethod = (bytes, answer) => {
    const request = decodeRange(bytes);
    replica.tell({
      type: 'read',
      guarantee: { kind: request.isSerializable ? 'stale' : 'linearizable' },
      patienceMs: PATIENCE_MS,
      done: (outcome) => {
        if (!outcome.ok) return answer(outcome.error, DONE);
        const { revision } = store.count;
        answer(null, encodeRangeAnswer({ value: store.get(request.key), revision }));
      },
    });
  };
  return serveUnary(
    new Map([
      [PUT, put],
      [RANGE, range],
    ]),
  );
}
