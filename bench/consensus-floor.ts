/**
 * What no commit can be faster than: a follower hears of it, makes it durable, and the leader hears of
 * that. Measured where and while the benches run: bytes that are there already are written over and
 * synced, and a second process echoes over loopback. The fastest tenth counts, so that a slow moment of
 * the disk makes no floor.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Floor } from './document.ts';
import { quantile } from './statistics.ts';

const SYNCS = 200;
const TRIPS = 500;
const FASTEST = 0.1;

export async function commitFloor(folder: string, bytes: number): Promise<Floor> {
  const syncUs = quantile(syncsUs(join(folder, 'floor'), bytes), FASTEST);
  const tripUs = quantile(await tripsUs(bytes), FASTEST);
  const name = `one fdatasync (${Math.round(syncUs)} us) + one round trip (${Math.round(tripUs)} us)`;
  return { name, value: syncUs + tripUs };
}

function syncsUs(path: string, bytes: number): readonly number[] {
  const fd = openSync(path, 'w');
  try {
    const block = Buffer.alloc(bytes, 1);
    for (let at = 0; at < SYNCS; at += 1) writeSync(fd, block, 0, bytes, at * bytes);
    fdatasyncSync(fd);
    return Array.from({ length: SYNCS }, (_, at) => {
      const startedMs = performance.now();
      writeSync(fd, block, 0, bytes, at * bytes);
      fdatasyncSync(fd);
      return (performance.now() - startedMs) * 1000;
    });
  } finally {
    closeSync(fd);
    rmSync(path);
  }
}

/** There with the bytes, back with one. */
async function tripsUs(bytes: number): Promise<readonly number[]> {
  const child = fork(new URL('./echo-end.js', import.meta.url), [String(bytes)], {
    stdio: ['ignore', 2, 2, 'ipc'],
  });
  try {
    const [port] = (await once(child, 'message')) as [number];
    const socket = connect(port, '127.0.0.1').setNoDelay(true);
    await once(socket, 'connect');
    const block = Buffer.alloc(bytes, 1);
    const trips: number[] = [];
    for (let trip = 0; trip < TRIPS; trip += 1) {
      const startedMs = performance.now();
      socket.write(block);
      await once(socket, 'data');
      trips.push((performance.now() - startedMs) * 1000);
    }
    socket.destroy();
    return trips;
  } finally {
    child.kill('SIGKILL');
  }
}
