/** Two network namespaces of this machine with one shaped link between them: two hosts on one wire. */
import { execFileSync } from 'node:child_process';
import { DwcpError } from '../src/util/errors.ts';
import { cleanedUp } from './interruption.ts';

export interface TwoHosts {
  readonly addresses: { readonly a: string; readonly b: string };
  /** Words before a command that make it run on that host. */
  readonly enter: { readonly a: readonly string[]; readonly b: readonly string[] };
}

const ADDRESSES = { a: '10.213.77.1', b: '10.213.77.2' };
/** Timers of this kind of machine fire late: a smaller bucket would not reach its rate. */
const BURST = '1mb';
const QUEUE_LATENCY = '20ms';

/** Removed in every case, also when the process is told to end meanwhile. */
export async function onShapedLink<T>(
  bitsPerSec: number,
  work: (hosts: TwoHosts) => Promise<T>,
): Promise<T> {
  const names = { a: `dwcp-${process.pid}-a`, b: `dwcp-${process.pid}-b` };
  const remove = (): void => {
    for (const name of Object.values(names)) attempt(['netns', 'delete', name]);
  };
  return cleanedUp(remove, async () => {
    connect(names, bitsPerSec);
    const enter = (name: string): string[] => ['nsenter', `--net=/run/netns/${name}`, '--'];
    return await work({ addresses: ADDRESSES, enter: { a: enter(names.a), b: enter(names.b) } });
  });
}

function connect(names: { readonly a: string; readonly b: string }, bitsPerSec: number): void {
  ip('netns', 'add', names.a);
  ip('netns', 'add', names.b);
  const peer = ['peer', 'name', 'wire', 'netns', names.b];
  ip('-n', names.a, 'link', 'add', 'wire', 'type', 'veth', ...peer);
  for (const host of ['a', 'b'] as const) {
    const name = names[host];
    ip('-n', name, 'address', 'add', `${ADDRESSES[host]}/30`, 'dev', 'wire');
    ip('-n', name, 'link', 'set', 'lo', 'up');
    ip('-n', name, 'link', 'set', 'wire', 'up');
    const shape = ['tbf', 'rate', `${bitsPerSec}bit`, 'burst', BURST, 'latency', QUEUE_LATENCY];
    run('tc', ['-n', name, 'qdisc', 'add', 'dev', 'wire', 'root', ...shape]);
  }
}

function ip(...args: readonly string[]): void {
  run('ip', args);
}

function attempt(args: readonly string[]): void {
  try {
    execFileSync('ip', args, { stdio: 'ignore' });
  } catch {
    // It was never made.
  }
}

function run(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (cause) {
    const said = (cause as { readonly stderr?: string }).stderr?.trim() || String(cause);
    throw new DwcpError('ERR_DWCP_UNSUPPORTED', `${command} ${args.join(' ')}: ${said}`, {
      hint: 'A shaped link needs root, network namespaces, and: apt-get install -y iproute2',
      cause,
    });
  }
}
