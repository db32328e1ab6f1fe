import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  checkPeerArguments,
  portableArguments,
} from '../../src/hypervisors/qemu/launch-arguments.ts';

test('what belongs to one process on one host does not travel, and its folder becomes a name', () => {
  const words = [
    ...['-machine', 'q35', '-S', '-incoming', 'defer', '-qmp', 'unix:/run/x/qmp,server=on'],
    ...['--monitor', 'stdio', '-daemonize', '-pidfile', '/run/x/pid', '-L', '/usr/share/qemu'],
    ...['-serial', 'file:/run/x/serial', '-sandbox', 'on', '-m', '64M'],
  ];
  assert.deepEqual(portableArguments(words, '/run/x'), [
    ...['-machine', 'q35', '-serial', 'file:@RUN@/serial', '-m', '64M'],
  ]);
});

test('a source that asks the destination to run a program or to drop its guard is refused', () => {
  const hostile: readonly unknown[] = [
    undefined,
    'text',
    Array.from({ length: 513 }, () => '-S'),
    [7],
    ['a\0b'],
    ['x'.repeat(4097)],
    ['-incoming', 'exec:rm -rf /'],
    ['-netdev', 'tap,id=n,script=/tmp/evil'],
    ['-netdev', 'tap,id=n,downscript=/tmp/evil'],
    ['-netdev', 'bridge,id=n,helper=/tmp/evil'],
    ['-netdev', 'user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:/tmp/evil'],
    ['-plugin', '/tmp/evil.so'],
    ['--sandbox', 'off'],
    ['-readconfig', '/etc/shadow'],
    ['-qmp', 'tcp:0.0.0.0:1'],
    ['-daemonize'],
  ];
  for (const args of hostile) {
    assert.throws(() => checkPeerArguments({ args }), { code: 'ERR_DWCP_PROTOCOL' }, String(args));
  }
  const honest = ['-machine', 'q35', '-netdev', 'tap,id=n,script=no,downscript=no', '-m', '1G'];
  assert.deepEqual(checkPeerArguments({ args: honest }), honest);
});
