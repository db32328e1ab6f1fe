import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAgentConfig, variableName } from '../../src/agent/config.ts';
import { DwcpError } from '../../src/util/errors.ts';

const MINIMAL = `
id: host-a
listen: 127.0.0.1:7000
dataDir: ./data
identity: { certFile: a.pem, keyFile: a.key, caFile: ca.pem }
`;

function refusal(text: string, environment: NodeJS.ProcessEnv = {}): DwcpError {
  try {
    parseAgentConfig(text, environment, 'agent.yaml');
  } catch (error) {
    assert.ok(error instanceof DwcpError, String(error));
    assert.equal(error.code, 'ERR_DWCP_CONFIG');
    return error;
  }
  throw new assert.AssertionError({ message: `was accepted: ${text}` });
}

test('a minimal file gets documented defaults', () => {
  const config = parseAgentConfig(MINIMAL, {}, 'agent.yaml');
  assert.deepEqual(config.listen, { host: '127.0.0.1', port: 7000 });
  assert.deepEqual(config.admin, { listen: { host: '127.0.0.1', port: 7002 }, operators: [] });
  assert.equal(config.link.streams, 4);
  assert.equal(config.log.level, 'info');
});

test('the example file in docs is accepted as it stands', () => {
  const text = readFileSync(new URL('../../../docs/agent.example.yaml', import.meta.url), 'utf8');
  assert.equal(parseAgentConfig(text, {}, 'example').peers.length, 2);
});

test('an unknown key is refused with its path and the keys allowed there', () => {
  const top = refusal(`${MINIMAL}\nlisen: 1\n`);
  assert.match(top.message, /unknown key lisen/);
  assert.match(top.hint ?? '', /dataDir/);
  const nested = refusal(`${MINIMAL}\nlink: { strems: 4 }\n`);
  assert.match(nested.message, /unknown key link\.strems/);
  assert.match(nested.hint ?? '', /Allowed at link: streams, maxBandwidth/);
  const inList = refusal(`${MINIMAL}\npeers: [{ id: b, address: "h:1", port: 2 }]\n`);
  assert.match(inList.message, /unknown key peers\.0\.port/);
  assert.match(inList.hint ?? '', /Allowed at peers\.0: id, address/);
});

test('wrong types, ranges and missing keys are refused with path and allowed values', () => {
  const cases = [
    [`${MINIMAL}\nlink: { streams: many }`, /link\.streams/, /must be a number/],
    [`${MINIMAL}\nlink: { streams: 0 }`, /link\.streams: too small/, /at least 1/],
    [`${MINIMAL}\nlink: { streams: 513 }`, /link\.streams: too big/, /at most 512/],
    [`${MINIMAL}\nlink: { maxBandwidth: fast }`, /link\.maxBandwidth/, /100MiB\/s/],
    [`${MINIMAL}\nlog: { level: loud }`, /log\.level/, /trace, debug, info/],
    [MINIMAL.replace('127.0.0.1:7000', 'nowhere'), /listen/, /HOST:PORT/],
    [MINIMAL.replace('127.0.0.1:7000', 'h:70000'), /listen/, /65535/],
    [MINIMAL.replace('dataDir: ./data', ''), /dataDir is missing/, /dataDir must be a string/],
    ['- a', /must be a map/, /agent\.example\.yaml/],
    ['{', /not YAML/, /^$/],
  ] as const;
  for (const [text, message, hint] of cases) {
    const error = refusal(text);
    assert.match(error.message, message);
    assert.match(error.hint ?? '', hint);
  }
});

test('a node named twice is refused', () => {
  assert.match(
    refusal(`${MINIMAL}\npeers: [{ id: host-a, address: "h:1" }]`).message,
    /peers\.0\.id: "host-a" is named twice/,
  );
});

test('a variable overrides a key, and is checked like one', () => {
  assert.equal(variableName(['identity', 'certFile']), 'DWCP_IDENTITY_CERT_FILE');
  const environment = { DWCP_LINK_STREAMS: '8', DWCP_IDENTITY_CERT_FILE: 'x.pem' };
  const config = parseAgentConfig(MINIMAL, environment, 'agent.yaml');
  assert.equal(config.link.streams, 8);
  assert.equal(config.identity.certFile, 'x.pem');
  assert.match(refusal(MINIMAL, { DWCP_LINK_STREAMS: '9999' }).message, /link\.streams/);
});

test('a bandwidth is bytes per second or text with a unit', () => {
  const config = parseAgentConfig(`${MINIMAL}\nlink: { maxBandwidth: 100MiB/s }`, {}, 'x');
  assert.equal(config.link.maxBandwidth, 100 * 2 ** 20);
});
