/**
 * QEMU 7.2 as far as a migration meets it, after `facts/qemu-stream.md`: it finds its own dirty pages and
 * writes its own stream into a socket, switches by itself when what is left fits its limit, and waits for
 * SHUT on the return path. A source that gets SHUT with an error, or loses that path, **resumes its guest
 * by itself** unless it is stopped by a signal; a source whose guest was stopped first does not. A
 * destination that cannot load exits.
 */
import type { LocalEnd, LocalSockets } from '../transport/bulk/local-socket.ts';
import { joined } from '../transport/bulk/local-socket.ts';
import { GuestProcess, type GuestProcessOptions } from './guest-process.ts';
import { PAGE_BYTES, SimPageSet } from './memory.ts';

export type QemuStatus = 'none' | 'active' | 'completed' | 'failed' | 'cancelled';
export type QemuEvent =
  | { readonly name: 'MIGRATION_PASS'; readonly pass: number }
  | { readonly name: 'STOP' | 'RESUME' }
  | { readonly name: 'MIGRATION'; readonly status: QemuStatus };

const STEP_US = 1_000;
/** Pages that it puts into its socket in one step: the rate at which it reads memory. */
const PAGES_PER_STEP = 32;
const RECORD_BYTES = 8;
const FLAG = { zero: 0x02, page: 0x08, eos: 0x10, end: 0x20 } as const;
const MAGIC = 0x5145564d;
const HEADER_BYTES = 8;
/** Devices, opaque to everybody but QEMU. */
const TAIL_BYTES = 3_000;
const SHUT = 1;
const PONG = 2;

export class QemuProcess extends GuestProcess {
  status: QemuStatus = 'none';
  pass = 0;
  sentPages = 0;
  downtimeLimitUs = 300_000;
  readonly #sockets: LocalSockets;
  #listener: (event: QemuEvent) => void = () => {};
  /** Commands and wake-ups that come while it is stopped by a signal. */
  readonly #waiting: (() => void)[] = [];
  #out: LocalEnd | null = null;
  #in: LocalEnd | null = null;
  #unparsed: Uint8Array = new Uint8Array(0);
  readonly #returned: Uint8Array[] = [];
  #left: number[] = [];
  #wasRunning = false;
  #isFinishing = false;
  #saidAll = false;
  #hasHeader = false;

  constructor(options: GuestProcessOptions, sockets: LocalSockets) {
    super(options);
    this.#sockets = sockets;
  }

  get incomingPath(): string {
    return `${this.reference.socketPath}-incoming`;
  }

  /** One monitor: a new agent takes it over. */
  onEvent(listener: (event: QemuEvent) => void): void {
    this.#listener = listener;
  }

  /** A command of the monitor: a process that is stopped by a signal does nothing until it goes on. */
  ask(command: () => void): void {
    if (!this.isAlive) return;
    if (this.isFrozen) this.#waiting.push(command);
    else command();
  }

  get remainingPages(): number {
    return this.#left.length;
  }

  // ---- commands -----------------------------------------------------------------------------------

  stop(): void {
    if (!this.runs) return;
    this.setRunning(false);
    this.#tell({ name: 'STOP' });
  }

  cont(): void {
    if (this.runs) return;
    this.setRunning(true);
    this.#tell({ name: 'RESUME' });
  }

  migrate(path: string): void {
    this.#out = this.#sockets.connect(path, 'guest');
    this.#wasRunning = false;
    this.#isFinishing = false;
    this.#saidAll = false;
    this.#returned.length = 0;
    this.pass = 0;
    this.sentPages = 0;
    if (this.#out === null) return this.#ended('failed');
    this.#become('active');
    this.#out.subscribe(() => this.ask(() => this.#heard()));
    const header = new Uint8Array(HEADER_BYTES);
    new DataView(header.buffer).setUint32(0, MAGIC);
    this.#out.write(header);
    this.memory.trackAnew();
    this.#scan();
    this.#stepLater();
  }

  cancel(): void {
    if (this.status !== 'active') return;
    this.#resumeIfItStopped();
    this.#ended('cancelled');
  }

  /** `-S -incoming`: stands still and waits for a stream. */
  listen(): void {
    this.#sockets.listen(this.incomingPath, 'guest', (end) => {
      this.#sockets.unlisten(this.incomingPath);
      this.#in = end;
      end.subscribe(() => this.ask(() => this.#load()));
    });
  }

  override forgetAgent(): void {
    super.forgetAgent();
    this.#listener = () => {};
  }

  protected override thawed(): void {
    for (const command of this.#waiting.splice(0)) if (this.isAlive) command();
  }

  protected override died(): void {
    this.#sockets.unlisten(this.incomingPath);
    this.#out?.close();
    this.#in?.close();
  }

  // ---- source -------------------------------------------------------------------------------------

  #scan(): void {
    this.catchUp();
    const dirty = new SimPageSet(this.memory.pageCount);
    this.memory.scan(dirty);
    this.#left = dirty.sorted();
    this.pass += 1;
    this.#tell({ name: 'MIGRATION_PASS', pass: this.pass });
  }

  #stepLater(): void {
    const { world, name } = this.simHost;
    world.schedule(world.nowUs + STEP_US, 'qemu', name, null, () => this.ask(() => this.#step()));
  }

  #step(): void {
    const out = this.#out;
    if (this.status !== 'active' || out === null || this.#saidAll) return;
    for (let count = 0; count < PAGES_PER_STEP && this.#left.length > 0; count += 1) {
      if (out.room < RECORD_BYTES + PAGE_BYTES) break;
      this.#writePage(out, this.#left.shift() as number);
    }
    if (this.#left.length === 0) this.#passEnded(out);
    if (!this.#saidAll) this.#stepLater();
  }

  #passEnded(out: LocalEnd): void {
    if (this.#isFinishing) {
      if (out.room < RECORD_BYTES + TAIL_BYTES) return;
      out.write(record(0, FLAG.end));
      out.write(new Uint8Array(TAIL_BYTES));
      this.#saidAll = true;
      return;
    }
    out.write(record(0, FLAG.eos));
    this.#scan();
    const leftUs = (this.#left.length * STEP_US) / PAGES_PER_STEP;
    if (this.runs && leftUs > this.downtimeLimitUs) return;
    this.#isFinishing = true;
    if (!this.runs) return;
    this.#wasRunning = true;
    this.setRunning(false);
    this.#tell({ name: 'STOP' });
    // What was written between the scan and the stop.
    const more = new SimPageSet(this.memory.pageCount);
    this.memory.scan(more);
    this.#left = [...new Set([...this.#left, ...more.pages])].sort((a, b) => a - b);
  }

  #writePage(out: LocalEnd, page: number): void {
    this.catchUp();
    this.sentPages += 1;
    const isZero = this.memory.isZero(page);
    out.write(record(page, isZero ? FLAG.zero : FLAG.page));
    if (!isZero) out.write(this.memory.page(page));
  }

  /** The return path. */
  #heard(): void {
    const out = this.#out;
    if (this.status !== 'active' || out === null) return;
    if (out.unreadBytes > 0) this.#returned.push(out.read(out.unreadBytes));
    const bytes = joined(this.#returned, sizeOf(this.#returned));
    this.#returned.length = 0;
    let at = 0;
    while (bytes.length - at >= RECORD_BYTES) {
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_BYTES);
      at += RECORD_BYTES;
      if (view.getUint16(0) !== SHUT) continue;
      if (view.getUint32(4) === 0) return this.#ended('completed');
      this.#resumeIfItStopped();
      return this.#ended('failed');
    }
    if (at < bytes.length) this.#returned.push(bytes.slice(at));
    if (!out.isAtEnd) return;
    this.#resumeIfItStopped();
    this.#ended('failed');
  }

  #resumeIfItStopped(): void {
    if (!this.#wasRunning) return;
    this.simHost.world.sometimes('a QEMU resumed its guest by itself');
    this.cont();
  }

  // ---- destination --------------------------------------------------------------------------------

  #load(): void {
    const input = this.#in;
    if (input === null || this.status === 'completed') return;
    if (input.unreadBytes > 0) {
      const more = input.read(input.unreadBytes);
      this.#unparsed = joined([this.#unparsed, more], this.#unparsed.length + more.length);
    }
    if (this.#parse(input)) return;
    // A stream that ends early, or is none: this version of QEMU exits.
    if (input.isAtEnd) this.kill();
  }

  /** True once the guest is loaded. */
  #parse(input: LocalEnd): boolean {
    const bytes = this.#unparsed;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    if (!this.#hasHeader) {
      if (bytes.length < HEADER_BYTES) return false;
      if (view.getUint32(0) !== MAGIC) {
        this.kill();
        return false;
      }
      this.#hasHeader = true;
      at = HEADER_BYTES;
      input.write(message(PONG, 1));
    }
    while (bytes.length - at >= RECORD_BYTES) {
      const page = view.getUint32(at);
      const flag = view.getUint32(at + 4);
      const body = flag === FLAG.page ? PAGE_BYTES : flag === FLAG.end ? TAIL_BYTES : 0;
      if (bytes.length - at < RECORD_BYTES + body) break;
      at += RECORD_BYTES;
      if (flag === FLAG.zero) this.memory.land(page, null);
      if (flag === FLAG.page) this.memory.land(page, bytes.subarray(at, at + PAGE_BYTES));
      at += body;
      if (flag !== FLAG.end) continue;
      this.#become('completed');
      input.write(message(SHUT, 0));
      return true;
    }
    this.#unparsed = bytes.slice(at);
    return false;
  }

  // -------------------------------------------------------------------------------------------------

  #ended(status: QemuStatus): void {
    this.throttle(0);
    this.#out?.close();
    this.#out = null;
    this.#left = [];
    this.#become(status);
  }

  #become(status: QemuStatus): void {
    this.status = status;
    this.#tell({ name: 'MIGRATION', status });
  }

  #tell(event: QemuEvent): void {
    this.#listener(event);
  }
}

function record(page: number, flag: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, page);
  view.setUint32(4, flag);
  return bytes;
}

function message(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, type);
  view.setUint16(2, 4);
  view.setUint32(4, value);
  return bytes;
}

function sizeOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}
