/** Of the back-ends that this machine has; soft-dirty bits are tried in the lab: test/rdma/lab-soft-dirty.test.ts. */
import { dirtyTrackerConformance } from '../conformance/dirty-tracker.ts';

for (const backend of ['pagemap-scan', 'rehash'] as const) dirtyTrackerConformance(backend);
