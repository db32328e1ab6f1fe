/** Every message that an honest replica may send, drawn. */
import fc from 'fast-check';
import type { Configuration, Entry, Message, Snapshot } from '../../src/protocols/raft/types.ts';

export interface Bounds {
  readonly from: number;
  readonly to: number;
  readonly numberMax: number;
  readonly termMax: number;
}

const WIDE: Bounds = { from: 2, to: 1, numberMax: 2 ** 48 - 100, termMax: 2 ** 48 };

export function someMessage(bounds: Bounds = WIDE): fc.Arbitrary<Message> {
  const { from, to, numberMax, termMax } = bounds;
  const number = fc.integer({ min: 0, max: numberMax });
  const id = fc.integer({ min: 1, max: 9 });
  const data = fc.uint8Array({ maxLength: 20 });
  const digest = fc
    .uint8Array({ minLength: 32, maxLength: 32 })
    .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(''));
  const ids = fc.uniqueArray(id, { maxLength: 5 }).map((list) => new Set(list));
  const configuration: fc.Arbitrary<Configuration> = fc
    .tuple(fc.uniqueArray(id, { minLength: 1, maxLength: 5 }), ids, ids, ids, fc.boolean())
    .map(([voters, votersOutgoing, learners, learnersNext, autoLeave]) => {
      return { voters: new Set(voters), votersOutgoing, learners, learnersNext, autoLeave };
    });

  const inTerm = (term: number): fc.Arbitrary<Message> => {
    const addressed = { from, to, term } as const;
    const position = fc
      .tuple(number, fc.integer({ min: 1, max: term }))
      .map(([index, at]) => ({ index, term: index === 0 ? 0 : at }));
    const snapshot: fc.Arbitrary<Snapshot> = fc
      .tuple(
        fc.integer({ min: 1, max: numberMax }),
        fc.integer({ min: 1, max: term }),
        configuration,
        fc.integer({ min: 100, max: 1000 }),
        digest,
      )
      .map(([index, at, members, sizeBytes, name]) => {
        return { index, term: at, configuration: members, sizeBytes, digest: name };
      });
    const someEntry = fc.oneof(
      fc.constant({ kind: 'noop' } as const),
      data.map((bytes) => ({ kind: 'command', data: bytes }) as const),
      configuration.map((members) => ({ kind: 'configuration', configuration: members }) as const),
    );
    const append = fc
      .tuple(position, fc.array(someEntry, { maxLength: 6 }), number, number)
      .map(([previous, list, commit, round]): Message => {
        const entries = list.map((entry, at): Entry => {
          const place = { index: previous.index + 1 + at, term: Math.max(1, previous.term) };
          return { ...entry, ...place };
        });
        return {
          type: 'appendRequest',
          ...addressed,
          previousIndex: previous.index,
          previousTerm: previous.term,
          ...{ entries, commit, round },
        };
      });
    const refused = fc
      .tuple(number, number, number, fc.boolean())
      .map(([previousIndex, hintIndex, hintTerm, damaged]) => {
        return { previousIndex, hintIndex, hintTerm, damaged };
      });
    return fc.oneof<fc.Arbitrary<Message>[]>(
      fc.tuple(position, fc.boolean(), fc.boolean(), fc.boolean()).chain(([last, a, b, c]) => {
        const lastOf = { lastIndex: last.index, lastTerm: last.term };
        return fc.constantFrom<Message>(
          { type: 'preVoteRequest', ...addressed, ...lastOf },
          { type: 'preVoteReply', ...addressed, granted: a, damaged: b },
          { type: 'voteRequest', ...addressed, ...lastOf, transfer: a, unanimous: c },
          { type: 'voteReply', ...addressed, granted: a },
          { type: 'timeoutNow', ...addressed },
        );
      }),
      append,
      fc.tuple(number, fc.option(number), refused).map(([round, matchIndex, refusal]): Message => {
        const taken = matchIndex !== null || round % 3 === 0;
        return {
          type: 'appendReply',
          ...addressed,
          round,
          matchIndex,
          refused: taken ? null : refusal,
        };
      }),
      fc.tuple(number, number).map(([commit, round]): Message => {
        return { type: 'heartbeat', ...addressed, commit, round };
      }),
      number.map((round): Message => ({ type: 'heartbeatReply', ...addressed, round })),
      fc.tuple(snapshot, number).map(([of, round]): Message => {
        return { type: 'snapshotOffer', ...addressed, snapshot: of, round };
      }),
      fc
        .tuple(snapshot, fc.nat(80), fc.uint8Array({ minLength: 1, maxLength: 20 }), number)
        .map(([of, offset, bytes, round]): Message => {
          return { type: 'snapshotChunk', ...addressed, snapshot: of, offset, data: bytes, round };
        }),
      fc
        .tuple(fc.integer({ min: 1, max: numberMax }), digest, number, fc.boolean(), number)
        .map(([index, name, receivedBytes, installed, round]): Message => {
          const of = { index, digest: name, receivedBytes, installed, round };
          return { type: 'snapshotReply', ...addressed, ...of };
        }),
      fc
        .tuple(number, number, fc.option(number))
        .chain(([incarnation, requestId, index]) =>
          fc.constantFrom<Message>(
            { type: 'readIndexRequest', ...addressed, incarnation, requestId },
            { type: 'readIndexReply', ...addressed, incarnation, requestId, index },
          ),
        ),
    );
  };
  return fc.integer({ min: 1, max: termMax }).chain(inTerm);
}
