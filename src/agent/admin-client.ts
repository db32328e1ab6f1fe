/** What the command line holds of an agent. Every refusal arrives as the agent's own coded error. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { ChannelCredentials, Client, type ServiceError } from '@grpc/grpc-js';
import type { NodeIdentity } from '../identity/authority.ts';
import { nodeIdOf } from '../identity/node-id.ts';
import type {
  ClaimReceipt,
  GuestStatus,
  LinkMode,
  MigrateOptions,
  MigrationProgress,
  MigrationReceipt,
  MigrationStatus,
} from '../node.ts';
import type { HostPort } from '../ports/transport.ts';
import { DwcpError } from '../util/errors.ts';
import { fromGrpcError } from './admin-error.ts';
import { type AdminMethod, adminMethods } from './admin-methods.ts';
import {
  type AgentStatus,
  guestFromWire,
  migrationFromWire,
  progressFromWire,
  receiptFromWire,
  statusFromWire,
} from './admin-wire.ts';

const ANSWER_WITHIN_MS = 30_000;

export interface AdminClientOptions {
  readonly address: HostPort;
  readonly identity: NodeIdentity;
  /** Node id that the agent's certificate must carry; null accepts any node of our authority. */
  readonly expectedNode: string | null;
}

interface Message {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

export class AdminClient {
  readonly #client: Client;
  readonly #address: string;

  constructor(options: AdminClientOptions) {
    this.#address = `${options.address.host}:${options.address.port}`;
    this.#client = new Client(this.#address, clientCredentials(options), {
      // Certificates name nodes, not hosts; `checkServerIdentity` below reads them.
      'grpc.ssl_target_name_override': 'dwcp',
    });
  }

  async status(): Promise<AgentStatus> {
    return statusFromWire(await this.#call(adminMethods.status, {}));
  }

  async guests(): Promise<readonly GuestStatus[]> {
    return (await this.#call(adminMethods.listGuests, {})).guests.map(guestFromWire);
  }

  async migrations(): Promise<readonly MigrationStatus[]> {
    return (await this.#call(adminMethods.listMigrations, {})).migrations.map(migrationFromWire);
  }

  async cancel(migrationId: string): Promise<void> {
    await this.#call(adminMethods.cancel, { migrationId });
  }

  async claim(guest: string): Promise<ClaimReceipt> {
    const { epoch, resumed } = await this.#call(adminMethods.claim, { guest });
    return { guest, epoch, resumed };
  }

  async setMaxBandwidth(peer: string, bytesPerSec: number): Promise<void> {
    await this.#call(adminMethods.setMaxBandwidth, { peer, bytesPerSec });
  }

  async limitMigration(migrationId: string, bytesPerSec: number): Promise<void> {
    await this.#call(adminMethods.limitMigration, { migrationId, bytesPerSec });
  }

  async setLinkMode(peer: string, policy: LinkMode | 'auto'): Promise<void> {
    await this.#call(adminMethods.setLinkMode, { peer, policy });
  }

  async startGuest(kind: string, name: string, options: object): Promise<GuestStatus> {
    const optionsJson = JSON.stringify(options);
    return guestFromWire(await this.#call(adminMethods.startGuest, { kind, name, optionsJson }));
  }

  migrate(
    guest: string,
    options: MigrateOptions,
    onProgress: (progress: MigrationProgress) => void,
  ): Promise<MigrationReceipt> {
    const { path, requestSerialize, responseDeserialize } = adminMethods.migrate;
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      {
        guest,
        ...options,
      },
    );
    return new Promise((resolve, reject) => {
      let receipt: MigrationReceipt | null = null;
      stream.on('data', (event: ReturnType<typeof responseDeserialize>) => {
        if (event.progress) onProgress(progressFromWire(event.progress));
        if (event.receipt) receipt = receiptFromWire(event.receipt);
      });
      stream.on('error', (error: ServiceError) => reject(fromGrpcError(error, this.#address)));
      stream.on('end', () => {
        if (receipt !== null) resolve(receipt);
      });
    });
  }

  close(): void {
    this.#client.close();
  }

  #call<Q extends Message, A extends Message>(
    method: AdminMethod<Q, A>,
    request: Parameters<Q['encode']>[0],
  ): Promise<ReturnType<A['decode']>> {
    const { path, requestSerialize, responseDeserialize } = method;
    const deadline = Date.now() + ANSWER_WITHIN_MS;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest<Parameters<Q['encode']>[0], ReturnType<A['decode']>>(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline },
        (error, value) => {
          if (error !== null) reject(fromGrpcError(error, this.#address));
          else if (value !== undefined) resolve(value);
        },
      );
    });
  }
}

function clientCredentials(options: AdminClientOptions): ChannelCredentials {
  const { identity, expectedNode } = options;
  const context = createSecureContext({
    ca: identity.authorityPem,
    cert: identity.certificatePem,
    key: identity.privateKeyPem,
    minVersion: 'TLSv1.3',
  });
  return ChannelCredentials.createFromSecureContext(context, {
    checkServerIdentity: (_host, certificate) => {
      const name = nodeIdOf(new X509Certificate(certificate.raw));
      if (expectedNode === null || name === expectedNode) return undefined;
      return new DwcpError('ERR_DWCP_IDENTITY', `the agent is "${name}", not "${expectedNode}"`);
    },
  });
}
