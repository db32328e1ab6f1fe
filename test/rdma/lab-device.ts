/** The device that tests in this folder use. The lab names it; on a machine with a card of its own, its user does. */
import { assert } from '../../src/util/assert.ts';

export interface LabDevice {
  /** As libibverbs calls it. */
  readonly name: string;
  /** Of the network device below it. */
  readonly address: string;
}

export function labDevice(): LabDevice {
  const { LAB_DEVICE: name, LAB_ADDRESS: address } = process.env;
  assert(
    name !== undefined && address !== undefined,
    'these tests run in the lab: npm run test:rdma',
  );
  return { name, address };
}
