/** The whole native boundary: what else imports from here, and `native/addon.ts` alone loads the addon. */
export * from './native/cache.ts';
export * from './native/codec.ts';
export * from './native/engine.ts';
export * from './native/memory.ts';
export * from './native/qemu.ts';
export * from './native/rdma.ts';
