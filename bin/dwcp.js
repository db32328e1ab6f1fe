#!/usr/bin/env node
// In a checkout this builds what is stale first; in an installed package everything is there already.
import { existsSync } from 'node:fs';

const setup = new URL('../scripts/setup.mjs', import.meta.url);
if (
  existsSync(new URL('../.git', import.meta.url)) &&
  existsSync(setup) &&
  !process.env.DWCP_NO_SETUP
) {
  (await import(setup)).setUp();
}
const { main } = await import('../dist/src/cli/main.js');
await main(process.argv.slice(2));
