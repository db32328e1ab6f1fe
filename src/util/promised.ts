/** Between completions and promises, for real twins whose work is a sequence of steps. */
import { type Completion, DwcpError, failed, succeeded } from './errors.ts';

/** Resolves or rejects with what the asked work was completed with. */
export function promised<T>(ask: (done: Completion<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((outcome) => (outcome.ok ? resolve(outcome.value) : reject(outcome.error)));
  });
}

/** Completes with what `work` ends with; what it throws without a code becomes a failed guest. */
export function complete<T>(work: () => Promise<T>, done: Completion<T>): void {
  work().then(
    (value) => done(succeeded(value)),
    (error: unknown) => done(failed(guestError(error))),
  );
}

/** What has a code keeps it. */
export function guestError(error: unknown): DwcpError {
  if (error instanceof DwcpError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new DwcpError('ERR_DWCP_GUEST_FAILED', message, { cause: error });
}
