/** CPU time of this process, every thread of it, native ones included. */
export function processCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
