/** The client of a consensus bench, a process of its own; speaks with the benchmark over `fork`'s channel. */
import { KvClient } from './kv-client.ts';
import { keyOf, type LoadFigures, type LoadPlan, madeValue, runLoad } from './kv-load.ts';

export interface ClientPlan extends LoadPlan {
  readonly address: string;
  readonly operation: 'put' | 'linearizableRange' | 'serializableRange';
}

export type ClientReport =
  | { readonly type: 'loaded'; readonly figures: LoadFigures }
  | { readonly type: 'failed'; readonly error: string };

const clients = new Map<string, KvClient>();

process.on('message', (plan: ClientPlan) => {
  const client = clients.get(plan.address) ?? new KvClient(plan.address);
  clients.set(plan.address, client);
  const issue = (operation: number, done: (error: Error | null) => void): void => {
    const key = keyOf(operation);
    if (plan.operation === 'put') {
      client.put({ key, value: madeValue(operation, plan.valueBytes) }, done);
      return;
    }
    const isSerializable = plan.operation === 'serializableRange';
    client.range({ key, isSerializable }, (error, answer) => {
      const isEmpty = error === null && answer?.value == null;
      done(isEmpty ? new Error(`${key} holds nothing`) : error);
    });
  };
  runLoad(plan, issue).then(
    (figures) => report({ type: 'loaded', figures }),
    (error: unknown) => report({ type: 'failed', error: String(error) }),
  );
});

function report(message: ClientReport): void {
  process.send?.(message);
}
