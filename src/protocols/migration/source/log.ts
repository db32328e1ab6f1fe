/** What the source says to the replicated log, and what it makes of a refusal. */
import { DwcpError } from '../../../util/errors.ts';
import type { OwnershipAnswer, OwnershipCommand } from '../../ownership/types.ts';
import type { SourceState } from './state.ts';

export function prepareCommand(state: SourceState): OwnershipCommand {
  const { terms, self, to } = state.options;
  const { guestName: vm, epoch, migrationId } = terms;
  return { type: 'prepare', vm, epoch: epoch - 1, migrationId, from: self, to };
}

export function abortCommand(state: SourceState, { message }: DwcpError): OwnershipCommand {
  const { terms, self } = state.options;
  const { guestName: vm, epoch, migrationId } = terms;
  const reason = message.slice(0, REASON_LENGTH_MAX);
  return { type: 'abort', vm, epoch: epoch - 1, migrationId, host: self, reason };
}

/** Every replica keeps it until its log is cut. */
const REASON_LENGTH_MAX = 200;

export function refusedPrepare(
  state: SourceState,
  { code, vm }: OwnershipAnswer & { ok: false },
): DwcpError {
  const { guestName } = state.options.terms;
  if (code === 'migrationPrepared') {
    const other = vm?.migration?.migrationId ?? 'another migration';
    return new DwcpError('ERR_DWCP_GUEST_STATE', `"${guestName}" is in migration ${other}`, {
      hint: 'The log of the group still has it, and its own host has not given it up. See: dwcp status',
    });
  }
  if (code === 'sameHost') {
    return new DwcpError('ERR_DWCP_USAGE', `"${guestName}" is on this host already`);
  }
  const owner = vm === null ? 'nobody' : `"${vm.owner}" under epoch ${vm.epoch}`;
  const what = `the log of the group refused to prepare the migration (${code}): ${owner} owns "${guestName}"`;
  return new DwcpError('ERR_DWCP_NOT_OWNER', what, {
    hint: 'See who owns it with: dwcp status',
  });
}
