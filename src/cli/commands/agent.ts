/** `dwcp agent`: a host agent in the foreground, until a signal. Its guests live on. */
import type { Command } from 'commander';
import { type Logger, pino } from 'pino';
import { runAgent } from '../../agent/agent.ts';
import { loadAgentConfig } from '../../agent/config.ts';
import type { DwcpNode } from '../../node.ts';
import { DwcpError } from '../../util/errors.ts';
import { makeGuest } from '../guest-options.ts';
import { type Library, loadLibrary } from '../library.ts';
import { addCommand, type JsonOption, printResult } from '../output.ts';

export function addAgentCommand(
  program: Command,
  load: () => Promise<Library> = loadLibrary,
): void {
  addCommand(program, 'agent', 'a host agent, until a signal', 'dwcp agent --config agent.yaml')
    .requiredOption('--config <file>', 'YAML; docs/agent.example.yaml is a complete example')
    .action(async (options: JsonOption & { readonly config: string }) => {
      const config = loadAgentConfig(options.config);
      const logger = pino(
        { level: config.log.level, base: { node: config.id } },
        pino.destination({ dest: 2, sync: true }),
      );
      const library = await load();
      const agent = await runAgent(config, {
        startNode: library.startNode,
        makeGuest: (kind, name, json) =>
          makeGuest({ library, qemu: config.qemu }, kind, name, json),
        logger,
      });
      const { controlPort, bulkPort } = agent.node.address;
      const { adminPort, metricsPort } = agent;
      printResult(
        options,
        { type: 'ready', node: config.id, controlPort, bulkPort, adminPort, metricsPort },
        `${config.id} is ready: control ${controlPort}, bulk ${bulkPort}, admin ${adminPort}, metrics ${metricsPort}`,
      );
      process.on('SIGHUP', () => reloadIdentity(agent.node, logger));
      const end = await Promise.race([firstSignal(), halted(agent.node)]);
      if (end instanceof DwcpError) {
        await agent.stop();
        throw end;
      }
      logger.info({ signal: end }, 'stopping; guests live on');
      await agent.stop();
      process.exit(0);
    });
}

/** New certificates and revocations; with bad files the agent goes on as it was, and says so. */
function reloadIdentity(node: DwcpNode, logger: Logger): void {
  try {
    node.reloadIdentity();
    logger.info('read the identity again');
  } catch (error) {
    logger.error({ err: error }, 'the new identity is no good; the one before stays in use');
  }
}

/** Why the node may not go on, once that is so. */
function halted(node: DwcpNode): Promise<DwcpError> {
  return new Promise((resolve) => {
    node.events$.subscribe((event) => {
      if (event.type === 'halted') resolve(event.error);
    });
  });
}

function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
  });
}
