/** A counter kept in memory, as a stranger would write it: the simulator finds what that forgets. */
import { checkers, models, type RegisterInput, type Request, type Scenario } from 'dwcp/sim';

export const scenario: Scenario<RegisterInput> = {
  name: 'forgetful-register',
  hosts: 1,
  boot: (host) => {
    host.spawn<unknown, Request<RegisterInput>>({
      name: 'register',
      mailboxLimit: 100,
      initialState: () => null,
      behavior: (value, request) => {
        host.reply(request, value);
        return request.input.op === 'write' ? request.input.value : value;
      },
    });
  },
  clients: {
    next: (random, serial) => (random.below(2) ? { op: 'read' } : { op: 'write', value: serial }),
    to: () => 'host-0/register',
  },
  checkers: [checkers.linearizability(models.register)],
};
