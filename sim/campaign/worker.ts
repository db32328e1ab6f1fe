/** One thread of a campaign: a seed at a time, nothing shared. */
import '../tripwires.ts';
import { parentPort, workerData } from 'node:worker_threads';
import { loadScenario } from './registry.ts';
import { runSeed, type SeedRunOptions } from './seed-run.ts';

const options = workerData as SeedRunOptions;
const loading = loadScenario(options.scenario);

parentPort?.on('message', (seed: number) => {
  void loading.then((scenario) => parentPort?.postMessage(runSeed(scenario, seed, options)));
});
