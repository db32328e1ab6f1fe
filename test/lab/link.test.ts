import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { lies, measureLink } from '../../bench/lab/measure.ts';
import { link, PROFILES, type WanProfile, type WanShape } from '../../bench/lab/profiles.ts';
import { type WanDirectionStats, withWan } from '../../bench/lab/wan.ts';

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root';
const EFFORT = { pings: 40, rateSeconds: 2, lossSeconds: 2 };
const BRIEFLY = { pings: 20, rateSeconds: 1, lossSeconds: 1 };

/** Drops that no shape asked for. */
function faults({ overruns, refused, deviceDrops }: WanDirectionStats): number {
  return overruns + refused + deviceDrops;
}

describe('a link of the lab', { skip: needsRoot }, () => {
  for (const profile of Object.keys(PROFILES) as WanProfile[]) {
    it(`is what the profile ${profile} says, by ping and iperf3`, { timeout: 60_000 }, async () => {
      await withWan({ profile }, async (wan) => {
        let measured = await measureLink(wan, EFFORT);
        // A busy machine makes a measurement worse, not a link better.
        for (let tries = 1; tries < 3 && lies(wan.shape, measured).length > 0; tries += 1) {
          measured = await measureLink(wan, EFFORT);
        }
        const { ab, ba } = await wan.stats();
        assert.deepEqual(lies(wan.shape, measured), [], JSON.stringify({ measured, ab }));
        assert.equal(faults(ab) + faults(ba), 0);
        assert.equal(ab.largestPacketBytes <= 1500, true, 'no packet is longer than the MTU');
      });
    });
  }

  const honest = link({ rateBitsPerSec: 20e6, roundTripMs: 60, lossPercent: 3 });
  const lied: readonly (readonly [string, Partial<WanShape>, RegExp])[] = [
    ['10 % too slow', { roundTripMs: 66 }, /round trip/],
    ['too early', { roundTripMs: 55 }, /round trip/],
    ['a quarter below its rate', { rateBitsPerSec: 15e6 }, /rate/],
    ['without the losses it claims', { lossPercent: 0 }, /loss/],
    ['twice as lossy as it claims', { lossPercent: 6 }, /loss/],
  ];
  for (const [what, lie, found] of lied) {
    it(`is caught when it is ${what}`, { timeout: 60_000 }, async () => {
      await withWan({ profile: honest }, async (wan) => {
        await wan.set(lie);
        // On a busy machine a fast link may look honest now and then, never again and again.
        let measured = await measureLink(wan, BRIEFLY);
        for (let tries = 1; tries < 3 && !found.test(lies(honest, measured).join()); tries += 1) {
          measured = await measureLink(wan, BRIEFLY);
        }
        assert.match(lies(honest, measured).join(), found, JSON.stringify(measured));
      });
    });
  }
});
