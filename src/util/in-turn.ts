import { type Completion, succeeded } from './errors.ts';

/**
 * Asks for one thing after another and completes with all answers; the first failure ends it. With
 * nothing to ask it completes inside the call.
 */
export function inTurn<T, R>(
  items: Iterable<T>,
  ask: (item: T, done: Completion<R>) => void,
  done: Completion<readonly R[]>,
): void {
  const rest = items[Symbol.iterator]();
  const answers: R[] = [];
  const next = (): void => {
    const item = rest.next();
    if (item.done === true) return done(succeeded(answers));
    ask(item.value, (outcome) => {
      if (!outcome.ok) return done(outcome);
      answers.push(outcome.value);
      next();
    });
  };
  next();
}
