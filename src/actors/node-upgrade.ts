/**
 * A data directory of a version that had no log of the group. What its migrations left unsettled only
 * that version can settle; its guests are noted first, since the log knows nothing of them yet.
 */
import type { Storage, StoredRecord } from '../ports/storage.ts';
import { type Completion, DwcpError, failed, succeeded } from '../util/errors.ts';
import { inTurn } from '../util/in-turn.ts';

/** How the version before named what was not settled. */
const UNSETTLED = ['fence', 'arrival', 'decision', 'claim'];
const NAMED_MAX = 4;

/** Key of the note that a guest, as its record has it, is older than the log. */
export function unloggedKey(guestName: string): string {
  return `unlogged/${guestName}`;
}

/** Before anything else reads the directory. Changes nothing when it refuses. */
export function upgrade(storage: Storage, dataDir: string, done: Completion<void>): void {
  storage.list('owner/', (owner) => {
    if (!owner.ok) return done(owner);
    if (owner.value.length > 0) return done(succeeded(undefined));
    const list = (kind: string, listed: Completion<readonly StoredRecord[]>): void =>
      storage.list(`${kind}/`, listed);
    inTurn(UNSETTLED, list, (lists) => {
      if (!lists.ok) return done(lists);
      const keys = lists.value.flat().map(({ key }) => key);
      if (keys.length > 0) return done(failed(unsettled(dataDir, keys)));
      noteGuests(storage, done);
    });
  });
}

/** Durable before the group is founded, so that a crash in between begins here again. */
function noteGuests(storage: Storage, done: Completion<void>): void {
  storage.list('guest/', (guests) => {
    if (!guests.ok) return done(guests);
    const note = ({ key, value }: StoredRecord, one: Completion<void>): void =>
      storage.put(unloggedKey(key.slice('guest/'.length)), value, one);
    inTurn(guests.value, note, (noted) => done(noted.ok ? succeeded(undefined) : noted));
  });
}

function unsettled(dataDir: string, keys: readonly string[]): DwcpError {
  const named = keys.slice(0, NAMED_MAX).join(', ');
  const more = keys.length > NAMED_MAX ? ` and ${keys.length - NAMED_MAX} more` : '';
  const what = `the data directory ${dataDir} has migrations that an earlier version of dwcp did not settle: ${named}${more}`;
  return new DwcpError('ERR_DWCP_STORAGE', what, {
    hint: 'Nothing was changed. Run that version on all hosts until its migrations have ended, then start this one.',
  });
}
