/** The real ports of a node, watched from outside: every call of theirs is a step that may fail. */
import { dwcp } from '#wire';
import type { NodeParts } from '../../../src/actors/node-start.ts';
import type { Guest, Hypervisor, IncomingGuest } from '../../../src/ports/hypervisor.ts';
import type { BulkStream, BulkTransport, ControlChannel } from '../../../src/ports/transport.ts';
import type { Outcome } from '../../../src/util/errors.ts';
import { FailPoints } from './fail-point.ts';

type Anything = (...values: unknown[]) => unknown;

export interface FaultyParts {
  readonly wrap: (parts: NodeParts) => NodeParts;
  readonly wrapGuest: (guest: Guest) => Guest;
}

export function faultyParts(failPointFile: string): FaultyParts {
  const channels = new Set<ControlChannel>();
  const streams: BulkStream[] = [];
  const { reach } = new FailPoints(failPointFile, (action) => {
    if (action === 'cutLink') for (const channel of channels) channel.close();
    else streams.findLast((stream) => stream.info() !== null)?.close();
  });

  const wrapGuest = (guest: Guest): Guest =>
    watch(guest, reach, {
      unfence: () => ['guest.unfence'],
      kill: () => ['guest.kill'],
      resumeIncoming: () => ['resumeIncoming', wrapIncoming],
      openOutgoing: () => [
        'openOutgoing',
        (outgoing) =>
          watch(outgoing as object, reach, {
            round: () => ['round'],
            stopAndCopy: () => ['stopAndCopy'],
            fence: () => ['fence'],
            stopForPostcopy: () => ['stopForPostcopy'],
            postcopy: () => ['postcopy'],
            digests: () => ['outgoing.digests'],
            abort: () => ['abort'],
            release: () => ['release'],
          }),
      ],
    });

  const wrapIncoming = (incoming: unknown): IncomingGuest =>
    watch(incoming as IncomingGuest, reach, {
      loaded: () => ['load'],
      digests: () => ['incoming.digests'],
      resume: () => ['resume', (guest) => wrapGuest(guest as Guest)],
      discard: () => ['discard'],
      suspend: () => ['suspend', (guest) => wrapGuest(guest as Guest)],
    });

  const wrapHypervisor = (hypervisor: Hypervisor): Hypervisor =>
    watch(hypervisor, reach, {
      adopt: () => ['adopt', (guest) => wrapGuest(guest as Guest)],
      prepareIncoming: () => ['prepareIncoming', wrapIncoming],
    });

  const wrapChannel = (channel: ControlChannel): ControlChannel => {
    channels.add(channel);
    return watch(channel, reach, { send: ([frame]) => [`send ${payloadOf(frame as Uint8Array)}`] });
  };

  const wrapBulk = (bulk: BulkTransport): BulkTransport => ({
    listen: (address, onStream) =>
      bulk.listen(address, (stream) => {
        streams.push(stream);
        onStream(stream);
      }),
    dial: (options) => {
      const stream = bulk.dial(options);
      streams.push(stream);
      return stream;
    },
    openLink: (options) => bulk.openLink(options),
    contentCache: () => bulk.contentCache(),
    close: () => bulk.close(),
  });

  const wrap = (parts: NodeParts): NodeParts => ({
    ...parts,
    bulk: wrapBulk(parts.bulk),
    hypervisors: new Map(
      [...parts.hypervisors].map(([kind, hypervisor]) => [kind, wrapHypervisor(hypervisor)]),
    ),
    openStorage: async (dataDir) =>
      watch(await parts.openStorage(dataDir), reach, {
        put: ([key]) => [`put ${kindOf(key)}`],
        remove: ([key]) => [`remove ${kindOf(key)}`],
      }),
    makeControl: (identity) => {
      const control = parts.makeControl(identity);
      return {
        listen: (address, onChannel, done) =>
          control.listen(address, (channel) => onChannel(wrapChannel(channel)), done),
        dial: (address, peer, done) =>
          control.dial(address, peer, (outcome) =>
            done(outcome.ok ? { ok: true, value: wrapChannel(outcome.value) } : outcome),
          ),
      };
    },
  });
  return { wrap, wrapGuest };
}

/** A step's name, and what is to be made of its completion's value. */
type Step = readonly [name: string, wrap?: (value: unknown) => unknown];

/**
 * `before NAME` is reached inside the call, `after NAME` when its completion arrives with success, or
 * on return where it has none.
 */
function watch<T extends object>(
  target: T,
  reach: (step: string) => void,
  steps: Readonly<Record<string, (args: readonly unknown[]) => Step>>,
): T {
  return new Proxy(target, {
    get: (object, key) => {
      const value: unknown = Reflect.get(object, key, object);
      if (typeof value !== 'function') return value;
      const method = (value as Anything).bind(object);
      const step = steps[String(key)];
      if (step === undefined) return method;
      return (...args: unknown[]) => {
        const [name, wrap = (result: unknown) => result] = step(args);
        reach(`before ${name}`);
        const done = args.at(-1);
        if (typeof done !== 'function') {
          const result = method(...args);
          reach(`after ${name}`);
          return result;
        }
        return method(...args.slice(0, -1), (outcome: Outcome<unknown>) => {
          if (!outcome.ok) return (done as Anything)(outcome);
          reach(`after ${name}`);
          return (done as Anything)({ ok: true, value: wrap(outcome.value) });
        });
      };
    },
  });
}

function kindOf(key: unknown): string {
  return String(key).split('/')[0] ?? '';
}

function payloadOf(frame: Uint8Array): string {
  return dwcp.Envelope.decode(frame).payload ?? 'nothing';
}
