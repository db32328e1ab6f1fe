/** The library that the commands start nodes with, loaded only by those that need the native addon. */
export type Library = typeof import('../index.ts');

export function loadLibrary(): Promise<Library> {
  return import('../index.ts');
}
