/**
 * The three functions of `reflect-metadata` that @peculiar/x509's injector asks for when it is
 * loaded. Must be imported before it.
 */
interface MetadataReflect {
  getMetadata?: (key: unknown, target: object) => unknown;
  getOwnMetadata?: (key: unknown, target: object) => unknown;
  defineMetadata?: (key: unknown, value: unknown, target: object) => void;
}

const metadata = new WeakMap<object, Map<unknown, unknown>>();
const get = (key: unknown, target: object): unknown => metadata.get(target)?.get(key);
const reflect = Reflect as MetadataReflect;

reflect.getMetadata ??= get;
reflect.getOwnMetadata ??= get;
reflect.defineMetadata ??= (key, value, target) => {
  const entries = metadata.get(target) ?? new Map<unknown, unknown>();
  metadata.set(target, entries.set(key, value));
};
