/** QEMU and KVM: which virtual machines this host can run and move. */
import { accessSync, constants, existsSync } from 'node:fs';
import { runForText } from './command.ts';
import { type Finding, fine, missing, warning } from './finding.ts';

const SYSTEM = 'qemu-system-x86_64';
const BACKPORTS = 'apt-get install -t bookworm-backports qemu-system-x86';

export function probeGuests(): readonly Finding[] {
  const kvm = probeKvm();
  return [kvm, probeQemu(kvm.status === 'ok')];
}

function probeKvm(): Finding {
  if (!existsSync('/dev/kvm')) {
    return missing(
      'kvm',
      'no /dev/kvm; QEMU emulates (TCG)',
      'modprobe kvm_intel || modprobe kvm_amd',
    );
  }
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return fine('kvm', '/dev/kvm is usable');
  } catch {
    return missing(
      'kvm',
      '/dev/kvm is not ours to open',
      'usermod -aG kvm "$USER" (then log in again)',
    );
  }
}

function probeQemu(kvm: boolean): Finding {
  const text = runForText(SYSTEM, ['--version']);
  if (text === null) {
    return missing(
      'qemu',
      'not installed; the memory guest needs none',
      'apt-get install qemu-system-x86',
    );
  }
  const version = /version (\d+)\.(\d+)\S*/.exec(text);
  const value = `${SYSTEM} ${version?.[0].slice('version '.length) ?? text.split('\n')[0]}`;
  const major = Number(version?.[1] ?? 0);
  if (major >= 8) return fine('qemu', value);
  const why = kvm
    ? `${value}: safe under KVM only; its emulation (TCG) loses guests in migration`
    : `${value} under TCG loses guests in migration`;
  return warning('qemu', why, BACKPORTS);
}
