/** QEMU and KVM: which virtual machines this host can run and move. */
import { fileURLToPath } from 'node:url';
import type { QemuBinary } from '../../ports/hypervisor.ts';
import { type Finding, fine, missing, warning } from './finding.ts';
import type { DoctorHost } from './host.ts';

const SCRIPT = fileURLToPath(new URL('../../../../scripts/qemu.mjs', import.meta.url));
const FETCH = `node ${SCRIPT}`;
/** Older ones lose guests that they migrate under emulation. */
const TCG_MAJOR_MIN = 8;

interface Qemu extends QemuBinary {
  readonly version: string;
}

export function probeGuests(host: DoctorHost): readonly Finding[] {
  const qemu = findQemu(host);
  const kvm = probeKvm(host, qemu);
  return [kvm, probeQemu(qemu, kvm.status === 'ok')];
}

/** The one that the demo and the tests would take, without fetching any. */
function findQemu(host: DoctorHost): Qemu | null {
  const found = host.run({ command: process.execPath, args: [SCRIPT, '--present'] });
  return found.succeeded ? (JSON.parse(found.output) as Qemu | null) : null;
}

/** That /dev/kvm opens says little inside a VM: a virtual CPU is made, as a guest would have it. */
function probeKvm(host: DoctorHost, qemu: Qemu | null): Finding {
  const access = host.access('/dev/kvm');
  if (access === 'absent') {
    return missing(
      'kvm',
      'no /dev/kvm; QEMU emulates (TCG)',
      'modprobe kvm_intel || modprobe kvm_amd (in a VM: enable nested virtualization on its host)',
    );
  }
  if (access === 'denied') {
    return missing(
      'kvm',
      '/dev/kvm is not ours to open',
      'usermod -aG kvm "$USER" (then log in again)',
    );
  }
  if (qemu === null) return warning('kvm', '/dev/kvm opens; untried, for want of QEMU', FETCH);
  const trial = ['-M', 'q35', '-accel', 'kvm', '-cpu', 'host', '-m', '16', '-nodefaults', '-S'];
  const { succeeded, output, errors } = host.run({
    command: qemu.binary,
    args: [...qemu.args, ...trial, '-display', 'none', '-qmp', 'stdio'],
    input: '{"execute":"qmp_capabilities"}\n{"execute":"query-kvm"}\n{"execute":"quit"}\n',
    environment: qemu.env,
  });
  if (succeeded && output.includes('"enabled": true'))
    return fine('kvm', 'QEMU made a virtual CPU');
  const why = errors.split('\n')[0] || 'QEMU did not say why';
  return warning(
    'kvm',
    `/dev/kvm opens, but QEMU makes no virtual CPU: ${why}`,
    'Use emulation (TCG) here; if this is a VM, enable nested virtualization on its host.',
  );
}

function probeQemu(qemu: Qemu | null, hasKvm: boolean): Finding {
  if (qemu === null) {
    return missing('qemu', 'none on this machine; the memory guest needs none', FETCH);
  }
  // Unpacked beside the system it needs its libraries named; the demo does so, an agent is told.
  const how =
    qemu.args.length === 0 ? '' : `; "${FETCH}" prints what an agent's qemu: section needs`;
  const value = `${qemu.version} (${qemu.binary}${how})`;
  if (hasKvm) return fine('qemu', value);
  const major = Number.parseInt(qemu.version, 10);
  return major >= TCG_MAJOR_MIN
    ? fine('qemu', `${value}, under emulation`)
    : warning('qemu', `${value} loses the guests it migrates under emulation (TCG)`, FETCH);
}
