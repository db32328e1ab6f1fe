/** The agent's gRPC server: mutual TLS 1.3, and only named operators may speak. */
import { X509Certificate } from 'node:crypto';
import tls from 'node:tls';
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import type { dwcp } from '#wire';
import type { NodeIdentity } from '../identity/authority.ts';
import { nodeIdOf } from '../identity/node-id.ts';
import { bestTracking } from '../native.ts';
import type { DwcpNode, GuestHandle, GuestStatus, LinkMode, MigrateOptions } from '../node.ts';
import { LINK_MODES } from '../ports/link-mode.ts';
import { TRANSFER_PROFILES } from '../ports/transfer-profile.ts';
import type { HostPort } from '../ports/transport.ts';
import { assert } from '../util/assert.ts';
import { DwcpError } from '../util/errors.ts';
import { toGrpcFailure } from './admin-error.ts';
import { type AdminMethod, adminMethods } from './admin-methods.ts';
import { migrationToWire, progressToWire, receiptToWire, statusToWire } from './admin-wire.ts';

/** A request is names and numbers; only a guest's options may be longer. */
const REQUEST_BYTES_MAX = 128 * 1024;

export interface AdminServiceOptions {
  readonly node: DwcpNode;
  readonly listen: HostPort;
  readonly identity: NodeIdentity;
  readonly operators: readonly string[];
  /** From a request's kind, name and options to what `node.adopt` takes. */
  readonly makeGuest: (kind: string, name: string, optionsJson: string) => GuestHandle;
}

export interface AdminService {
  readonly port: number;
  close(): void;
}

export async function startAdminService(options: AdminServiceOptions): Promise<AdminService> {
  // grpc-js passes no minimum version on; this process speaks TLS with nobody else's rules.
  tls.DEFAULT_MIN_VERSION = 'TLSv1.3';
  const server = new Server({ 'grpc.max_receive_message_length': REQUEST_BYTES_MAX });
  addHandlers(server, options);
  const { identity, listen } = options;
  const credentials = ServerCredentials.createSsl(
    Buffer.from(identity.authorityPem),
    [
      {
        private_key: Buffer.from(identity.privateKeyPem),
        cert_chain: Buffer.from(identity.certificatePem),
      },
    ],
    true,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${listen.host}:${listen.port}`, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(listenError(listen, error));
    });
  });
  return { port, close: () => server.forceShutdown() };
}

function listenError(listen: HostPort, cause: Error): DwcpError {
  return new DwcpError(
    'ERR_DWCP_LISTEN',
    `cannot listen on ${listen.host}:${listen.port} for admin: ${cause.message}`,
    { hint: 'Free the port, or choose another with admin.listen.', cause },
  );
}

function addHandlers(server: Server, options: AdminServiceOptions): void {
  const { node } = options;
  const startedMs = performance.now();
  // The operator's name comes from the certificate, never from the request.
  const unary = <Q extends Message, A extends Message>(
    _method: AdminMethod<Q, A>,
    answer: (
      request: ReturnType<Q['decode']>,
      operator: string,
    ) => Parameters<A['encode']>[0] | Promise<Parameters<A['encode']>[0]>,
  ) => {
    return (call: ServerUnaryCall<object, object>, reply: sendUnaryData<object>) => {
      answerOnce(call, options, (operator) =>
        answer(call.request as ReturnType<Q['decode']>, operator),
      ).then(
        (value) => reply(null, value as object),
        (error: unknown) => reply(toGrpcFailure(error)),
      );
    };
  };
  server.addService(adminMethods as never, {
    status: unary(adminMethods.status, () =>
      statusToWire({
        node: node.id,
        ...node.address,
        uptimeMs: Math.round(performance.now() - startedMs),
        guests: node.guests(),
        peers: node.peers(),
        group: node.group(),
        owners: node.owners(),
        contentCache: node.contentCache(),
        dirtyTracking: bestTracking(),
      }),
    ),
    listGuests: unary(adminMethods.listGuests, () => ({ guests: [...node.guests()] })),
    listMigrations: unary(adminMethods.listMigrations, () => ({
      migrations: node.migrations().map(migrationToWire),
    })),
    cancel: unary(adminMethods.cancel, async (request) => {
      await node.cancel(request.migrationId);
      return {};
    }),
    claim: unary(adminMethods.claim, async (request, operator) => {
      const { epoch, resumed } = await node.claim(request.guest, operator);
      return { epoch, resumed };
    }),
    setMaxBandwidth: unary(adminMethods.setMaxBandwidth, (request) => {
      if (!node.peers().some((peer) => peer.id === request.peer)) {
        throw new DwcpError('ERR_DWCP_PEER_UNKNOWN', `no peer "${request.peer}"`, {
          hint: '"dwcp status" lists the peers of this agent.',
        });
      }
      node.setMaxBandwidth(request.peer, request.bytesPerSec);
      return {};
    }),
    limitMigration: unary(adminMethods.limitMigration, async (request) => {
      await node.setMigrationBandwidth(request.migrationId, request.bytesPerSec);
      return {};
    }),
    setLinkMode: unary(adminMethods.setLinkMode, async (request) => {
      await node.setLinkMode(request.peer, policyOf(request.policy));
      return {};
    }),
    startGuest: unary(adminMethods.startGuest, async (request) => {
      const handle = options.makeGuest(request.kind, request.name, request.optionsJson);
      return guestOf(node, await node.adopt(handle));
    }),
    migrate: (call: ServerWritableStream<dwcp.AdminMigrateRequest, object>) =>
      streamMigration(call, options),
  });
}

interface Message {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

async function answerOnce(
  call: ServerUnaryCall<object, object>,
  options: AdminServiceOptions,
  answer: (operator: string) => unknown,
): Promise<unknown> {
  return answer(authorize(call, options));
}

function authorize(
  call: ServerUnaryCall<object, object> | ServerWritableStream<dwcp.AdminMigrateRequest, object>,
  options: AdminServiceOptions,
): string {
  const certificate = call.getAuthContext().sslPeerCertificate;
  assert(certificate?.raw !== undefined, 'the TLS layer demanded a client certificate');
  const name = nodeIdOf(new X509Certificate(certificate.raw));
  if (name === options.node.id || options.operators.includes(name)) return name;
  throw new DwcpError('ERR_DWCP_IDENTITY', `"${name}" may not administer ${options.node.id}`, {
    hint: `Add it to admin.operators in the configuration of ${options.node.id}.`,
  });
}

function guestOf(node: DwcpNode, name: string): GuestStatus {
  const guest = node.guests().find((each) => each.name === name);
  assert(guest !== undefined, `the adopted guest ${name} is listed`);
  return guest;
}

/** Hanging up ends the report, not the migration. */
function streamMigration(
  call: ServerWritableStream<dwcp.AdminMigrateRequest, object>,
  options: AdminServiceOptions,
): void {
  try {
    authorize(call, options);
    const session = options.node.migrate(call.request.guest, migrateOptions(call.request));
    const progress = session.progress$.subscribe({
      next: (each) => {
        // A reader that fell behind misses samples, never the receipt.
        if (!call.cancelled && !call.writableNeedDrain)
          call.write({ progress: progressToWire(each) });
      },
      // `done` tells the same failure.
      error: () => {},
    });
    call.once('cancelled', () => progress.unsubscribe());
    session.done.then(
      (receipt) => {
        progress.unsubscribe();
        call.write({ receipt: receiptToWire(receipt) });
        call.end();
      },
      (error: unknown) => {
        progress.unsubscribe();
        call.emit('error', toGrpcFailure(error));
      },
    );
  } catch (error) {
    call.emit('error', toGrpcFailure(error));
  }
}

function policyOf(text: string): LinkMode | 'auto' {
  const policy = text === 'auto' ? text : LINK_MODES.find((mode) => mode === text);
  if (policy !== undefined) return policy;
  throw new DwcpError('ERR_DWCP_USAGE', `a link has no mode "${text}"`, {
    hint: `Use auto, ${LINK_MODES.join(', ')}.`,
  });
}

function migrateOptions(request: dwcp.AdminMigrateRequest): MigrateOptions {
  const { to, maxDowntimeMs, maxDowntimeCeilingMs, throttlePercentMax } = request;
  const { maxBandwidth, verify, profile, allowPostcopy } = request;
  if (verify !== '' && verify !== 'after' && verify !== 'strict' && verify !== 'off') {
    throw new DwcpError('ERR_DWCP_USAGE', `verify cannot be "${verify}"`, {
      hint: 'Use after, strict or off.',
    });
  }
  const named = TRANSFER_PROFILES.find((each) => each === profile);
  if (profile !== '' && named === undefined) {
    throw new DwcpError('ERR_DWCP_USAGE', `profile cannot be "${profile}"`, {
      hint: `Use ${TRANSFER_PROFILES.join(' or ')}.`,
    });
  }
  return {
    to,
    ...(named === undefined ? {} : { profile: named }),
    ...(maxDowntimeMs === 0 ? {} : { maxDowntimeMs }),
    ...(maxDowntimeCeilingMs === 0 ? {} : { maxDowntimeCeilingMs }),
    ...(throttlePercentMax === 0 ? {} : { throttlePercentMax }),
    ...(allowPostcopy ? { allowPostcopy } : {}),
    ...(maxBandwidth === 0 ? {} : { maxBandwidth }),
    ...(verify === '' ? {} : { verify }),
  };
}
