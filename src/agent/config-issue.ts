/** Turns what zod found into the key's path, what stood there, and what would be allowed. */
import { z } from 'zod';

export interface ConfigIssue {
  readonly message: string;
  readonly hint: string;
}

export function explainIssue(issue: z.core.$ZodIssue, schema: z.ZodType): ConfigIssue {
  const path = issue.path.join('.');
  const at = path === '' ? 'the top level' : path;
  switch (issue.code) {
    case 'unrecognized_keys': {
      const keys = issue.keys.map((key) => [...issue.path, key].join('.')).join(', ');
      return {
        message: `unknown key ${keys}`,
        hint: `Allowed at ${at}: ${allowedKeys(schema, issue.path)}.`,
      };
    }
    case 'invalid_type': {
      const missing = issue.input === undefined && issue.message.includes('undefined');
      const message = missing ? `${path} is missing` : `${path}: ${lowerFirst(issue.message)}`;
      return { message, hint: `${path} must be a ${issue.expected}.` };
    }
    case 'invalid_value': {
      const allowed = issue.values.map(String).join(', ');
      return { message: `${path}: not an allowed value`, hint: `${path} is one of: ${allowed}.` };
    }
    case 'too_small':
      return {
        message: `${path}: too small`,
        hint: `${path} must be ${issue.inclusive === false ? 'above' : 'at least'} ${issue.minimum}.`,
      };
    case 'too_big':
      return { message: `${path}: too big`, hint: `${path} must be at most ${issue.maximum}.` };
    default:
      return { message: `${path}: wrong value`, hint: `${path} must be ${issue.message}.` };
  }
}

function allowedKeys(schema: z.ZodType, path: readonly PropertyKey[]): string {
  let level: unknown = schema;
  for (const key of path) {
    level = unwrap(level);
    if (level instanceof z.ZodArray) level = level.element;
    else if (level instanceof z.ZodObject) level = level.shape[String(key)];
  }
  level = unwrap(level);
  return level instanceof z.ZodObject ? Object.keys(level.shape).join(', ') : 'nothing';
}

/** Without its default. */
export function unwrap(schema: unknown): unknown {
  let level = schema;
  while (level instanceof z.ZodDefault || level instanceof z.ZodPrefault) level = level.unwrap();
  return level;
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
