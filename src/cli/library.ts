/** The library that the commands start nodes with, loaded only by those that need the native addon. */
import type { DwcpNode, GuestHandle, StartNodeOptions } from '../node.ts';

export interface Library {
  startNode(options: StartNodeOptions): Promise<DwcpNode>;
  memoryGuest(options: object): GuestHandle;
  qemuGuest(options: object): GuestHandle;
}

export async function loadLibrary(): Promise<Library> {
  return (await import(new URL('../index.js', import.meta.url).href)) as Library;
}
