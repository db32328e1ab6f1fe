/** A coded error across gRPC: the status carries the message, trailing metadata the code and hint. */
import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { DwcpError, type ErrorCode } from '../util/errors.ts';

const KEY = 'dwcp-error-bin';

export interface GrpcFailure {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

export function toGrpcFailure(error: unknown): GrpcFailure {
  const metadata = new Metadata();
  if (!(error instanceof DwcpError)) {
    return { code: status.INTERNAL, details: String(error), metadata };
  }
  const { code, message, hint } = error;
  metadata.set(KEY, Buffer.from(JSON.stringify({ code, message, hint })));
  return { code: status.FAILED_PRECONDITION, details: message, metadata };
}

export function fromGrpcError(error: ServiceError, address: string): DwcpError {
  const [packed] = error.metadata?.get(KEY) ?? [];
  if (packed instanceof Buffer) {
    const { code, message, hint } = JSON.parse(packed.toString('utf8')) as {
      code: ErrorCode;
      message: string;
      hint: string | null;
    };
    return new DwcpError(code, message, hint === null ? { cause: error } : { hint, cause: error });
  }
  if (error.code === status.UNAVAILABLE) {
    return new DwcpError(
      'ERR_DWCP_PEER_UNREACHABLE',
      `no agent answers at ${address}: ${error.details}`,
      {
        hint: 'Start it with "dwcp agent --config FILE", or pass its address with --agent HOST:PORT.',
        cause: error,
      },
    );
  }
  if (error.code === status.DEADLINE_EXCEEDED) {
    return new DwcpError('ERR_DWCP_TIMEOUT', `the agent at ${address} did not answer in time`, {
      cause: error,
    });
  }
  return new DwcpError('ERR_DWCP_PROTOCOL', `the agent at ${address} failed: ${error.details}`, {
    hint: "The agent's log says more.",
    cause: error,
  });
}
