/** The Admin service of `proto/admin.proto` as gRPC wants it described; both ends share it. */
import { dwcp } from '#wire';

/** What the generated static classes have in common. */
interface MessageClass {
  encode(message: never): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

/** A call bound to its messages: what a sender may give, and what a reader gets. */
export interface AdminMethod<Q extends MessageClass, A extends MessageClass> {
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: boolean;
  requestSerialize(message: Parameters<Q['encode']>[0]): Buffer;
  requestDeserialize(bytes: Buffer): ReturnType<Q['decode']>;
  responseSerialize(message: Parameters<A['encode']>[0]): Buffer;
  responseDeserialize(bytes: Buffer): ReturnType<A['decode']>;
}

type Empty = typeof dwcp.AdminEmpty;

export interface AdminMethods {
  readonly status: AdminMethod<Empty, typeof dwcp.AdminStatus>;
  readonly listGuests: AdminMethod<Empty, typeof dwcp.AdminGuests>;
  readonly listMigrations: AdminMethod<Empty, typeof dwcp.AdminMigrations>;
  readonly migrate: AdminMethod<typeof dwcp.AdminMigrateRequest, typeof dwcp.AdminMigrateEvent>;
  readonly cancel: AdminMethod<typeof dwcp.AdminCancelRequest, Empty>;
  readonly claim: AdminMethod<typeof dwcp.AdminClaimRequest, typeof dwcp.AdminClaimReply>;
  readonly setMaxBandwidth: AdminMethod<typeof dwcp.AdminSetMaxBandwidthRequest, Empty>;
  readonly limitMigration: AdminMethod<typeof dwcp.AdminLimitMigrationRequest, Empty>;
  readonly setLinkMode: AdminMethod<typeof dwcp.AdminSetLinkModeRequest, Empty>;
  readonly startGuest: AdminMethod<typeof dwcp.AdminStartGuestRequest, typeof dwcp.AdminGuest>;
}

export const adminMethods: AdminMethods = {
  status: method('Status', dwcp.AdminEmpty, dwcp.AdminStatus),
  listGuests: method('ListGuests', dwcp.AdminEmpty, dwcp.AdminGuests),
  listMigrations: method('ListMigrations', dwcp.AdminEmpty, dwcp.AdminMigrations),
  migrate: method('Migrate', dwcp.AdminMigrateRequest, dwcp.AdminMigrateEvent, true),
  cancel: method('Cancel', dwcp.AdminCancelRequest, dwcp.AdminEmpty),
  claim: method('Claim', dwcp.AdminClaimRequest, dwcp.AdminClaimReply),
  setMaxBandwidth: method('SetMaxBandwidth', dwcp.AdminSetMaxBandwidthRequest, dwcp.AdminEmpty),
  limitMigration: method('LimitMigration', dwcp.AdminLimitMigrationRequest, dwcp.AdminEmpty),
  setLinkMode: method('SetLinkMode', dwcp.AdminSetLinkModeRequest, dwcp.AdminEmpty),
  startGuest: method('StartGuest', dwcp.AdminStartGuestRequest, dwcp.AdminGuest),
};

function method<Q extends MessageClass, A extends MessageClass>(
  name: string,
  request: Q,
  answer: A,
  responseStream = false,
): AdminMethod<Q, A> {
  return {
    path: `/dwcp.Admin/${name}`,
    requestStream: false,
    responseStream,
    requestSerialize: (message) => Buffer.from(request.encode(message as never).finish()),
    requestDeserialize: (bytes) => request.decode(bytes) as ReturnType<Q['decode']>,
    responseSerialize: (message) => Buffer.from(answer.encode(message as never).finish()),
    responseDeserialize: (bytes) => answer.decode(bytes) as ReturnType<A['decode']>,
  };
}
