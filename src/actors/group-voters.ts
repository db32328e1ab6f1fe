/** Which hosts decide by their majority who runs what. */
import type { StartNodeOptions } from '../node.ts';
import { DwcpError } from '../util/errors.ts';

/** Sorted; this host and all its peers when the options name none. Throws `ERR_DWCP_CONFIG`. */
export function votersOf({
  id,
  peers,
  group,
}: Pick<StartNodeOptions, 'id' | 'peers' | 'group'>): readonly string[] {
  const hosts = [id, ...peers.map((peer) => peer.id)];
  const named = group?.voters ?? [];
  const voters = named.length === 0 ? hosts : named;
  if (new Set(voters).size < voters.length) throw refused('names a host twice');
  const stranger = voters.find((voter) => !hosts.includes(voter));
  if (stranger !== undefined) throw refused(`names "${stranger}", which is no peer of "${id}"`);
  if (!voters.includes(id)) throw refused(`does not name "${id}", this host`);
  return [...voters].sort();
}

function refused(why: string): DwcpError {
  return new DwcpError('ERR_DWCP_CONFIG', `group.voters ${why}`, {
    hint: 'List this host and those of its peers that run VMs with it, the same on every one of them.',
  });
}
