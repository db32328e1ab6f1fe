import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse as parseYaml } from 'yaml';
import { leafPaths, parseAgentConfig, variableName } from '../../src/agent/config.ts';
import { DwcpError } from '../../src/util/errors.ts';

const MINIMAL = `
id: host-a
listen: 127.0.0.1:7000
dataDir: ./data
identity: { certFile: a.pem, keyFile: a.key, caFile: ca.pem }
`;

const MODE_RULES = {
  ...{ nearMs: 10, farMs: 50, wideBytesPerSec: 125e6, hysteresis: 0.2, confidence: 0.7 },
  ...{ samples: 10, minStayMs: 60_000, coolDownMs: 30_000, maxPerMinute: 2 },
};

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
  assert.equal(config.bulkPort, 0);
  assert.deepEqual(config.link, {
    ...{
      mode: 'auto',
      modeRules: MODE_RULES,
      streams: 'auto',
      chunkBytes: 'auto',
      windowBytes: 2 ** 25,
    },
    ...{ encryption: 'on', cipher: 'aes-128-gcm', congestionControl: 'auto', maxBandwidth: 0 },
    ...{ transport: 'auto', requireTransport: false },
  });
  assert.deepEqual(config.migrations, {
    ...{ concurrent: 4, resumeGraceMs: 300_000, allowPostcopy: false },
    ...{ maxCpuPercent: 0, maxBandwidth: 0 },
  });
  assert.equal(config.log.level, 'info');
});

test('the example file in docs is accepted as it stands', () => {
  const text = readFileSync(new URL('../../../docs/agent.example.yaml', import.meta.url), 'utf8');
  assert.equal(parseAgentConfig(text, {}, 'example').peers.length, 2);
});

test('the example file in docs names every key, and the defaults that it names are the defaults', () => {
  const text = readFileSync(new URL('../../../docs/agent.example.yaml', import.meta.url), 'utf8');
  const example = parseYaml(text) as Record<string, unknown>;
  const named = leafPaths().filter((keys) => {
    const value = keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], example);
    return value === undefined;
  });
  assert.deepEqual(named, []);
  const own = ['id', 'listen', 'bulkPort', 'peers', 'dataDir', 'identity', 'admin'];
  const { rest: fromExample } = split(parseAgentConfig(text, {}, 'example'), own);
  const { rest: fromNothing } = split(parseAgentConfig(MINIMAL, {}, 'minimal'), own);
  assert.deepEqual(fromExample, fromNothing);
});

function split(config: object, keys: readonly string[]): { rest: object } {
  return {
    rest: Object.fromEntries(Object.entries(config).filter(([key]) => !keys.includes(key))),
  };
}

test('an unknown key is refused with its path and the keys allowed there', () => {
  const top = refusal(`${MINIMAL}\nlisen: 1\n`);
  assert.match(top.message, /unknown key lisen/);
  assert.match(top.hint ?? '', /dataDir/);
  const nested = refusal(`${MINIMAL}\nlink: { strems: 4 }\n`);
  assert.match(nested.message, /unknown key link\.strems/);
  assert.match(
    nested.hint ?? '',
    /Allowed at link: mode, modeRules, streams, chunkBytes, windowBytes, encryption, cipher, congestionControl, transport, requireTransport, maxBandwidth/,
  );
  const inList = refusal(`${MINIMAL}\npeers: [{ id: b, address: "h:1", port: 2 }]\n`);
  assert.match(inList.message, /unknown key peers\.0\.port/);
  assert.match(inList.hint ?? '', /Allowed at peers\.0: id, address/);
});

test('wrong types, ranges and missing keys are refused with path and allowed values', () => {
  const cases = [
    ...['many', '0', '513', '1.5'].map(
      (streams) =>
        [
          `${MINIMAL}\nlink: { streams: ${streams} }`,
          /link\.streams: wrong value/,
          /link\.streams must be a whole number from 1 to 512, or auto\./,
        ] as const,
    ),
    ...['15KiB', '100000', '17MiB', 'big', '-4096', '[]'].map(
      (chunk) =>
        [
          `${MINIMAL}\nlink: { chunkBytes: ${chunk} }`,
          /link\.chunkBytes: wrong value/,
          /link\.chunkBytes must be whole pages of 4KiB from 16KiB to 16MiB/,
        ] as const,
    ),
    [`${MINIMAL}\nlink: { windowBytes: 1KiB }`, /link\.windowBytes/, /from 1MiB to 4GiB/],
    [
      `${MINIMAL}\nlink: { windowBytes: 1MiB, chunkBytes: 2MiB }`,
      /link\.windowBytes/,
      /at least link\.chunkBytes/,
    ],
    [
      `${MINIMAL}\nlink: { congestionControl: vegas }`,
      /link\.congestionControl: not an allowed value/,
      /auto, cubic, reno, bbr/,
    ],
    [`${MINIMAL}\nbulkPort: 65536`, /bulkPort: too big/, /at most 65535/],
    [`${MINIMAL}\nbulkPort: any`, /bulkPort/, /must be a number/],
    [`${MINIMAL}\nmigrations: { concurrent: 0 }`, /migrations\.concurrent/, /at least 1/],
    [`${MINIMAL}\nmigrations: { concurrent: 65 }`, /migrations\.concurrent/, /at most 64/],
    [`${MINIMAL}\nmigrations: { maxCpuPercent: -1 }`, /migrations\.maxCpuPercent/, /at least 0/],
    [`${MINIMAL}\nmigrations: { maxBandwidth: x }`, /migrations\.maxBandwidth/, /100MiB\/s/],
    [
      `${MINIMAL}\nmigrations: { concurent: 1 }`,
      /unknown key migrations\.concurent/,
      /concurrent, resumeGraceMs, allowPostcopy, maxCpuPercent, maxBandwidth/,
    ],
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

test('a network is untrusted until somebody says otherwise, of all peers or of one', () => {
  const of = (link: string, peer: string) =>
    parseAgentConfig(
      `${MINIMAL}peers: [{ id: b, address: "h:1"${peer} }]\nlink: { ${link} }\n`,
      {},
      'agent.yaml',
    );
  assert.equal(of('', '').peers[0]?.trustedNetwork, undefined);
  assert.equal(of('', ', trustedNetwork: true').peers[0]?.trustedNetwork, true);
  assert.equal(of('encryption: "off"', ', trustedNetwork: false').link.encryption, 'off');
  const wrong = refusal(`${MINIMAL}\nlink: { encryption: maybe }\n`);
  assert.match(wrong.hint ?? '', /link.encryption is one of: on, off/);
  assert.match(
    refusal(`${MINIMAL}\nlink: { cipher: rot13 }`).hint ?? '',
    /aes-128-gcm, aes-256-gcm/,
  );
});

test('a node named twice is refused', () => {
  assert.match(
    refusal(`${MINIMAL}\npeers: [{ id: host-a, address: "h:1" }]`).message,
    /peers\.0\.id: "host-a" is named twice/,
  );
});

test('a variable overrides a key, and is checked like one', () => {
  assert.equal(variableName(['identity', 'certFile']), 'DWCP_IDENTITY_CERT_FILE');
  const environment = { DWCP_LINK_STREAMS: '16', DWCP_IDENTITY_CERT_FILE: 'x.pem' };
  const config = parseAgentConfig(MINIMAL, environment, 'agent.yaml');
  assert.equal(config.link.streams, 16);
  assert.equal(config.identity.certFile, 'x.pem');
  const more = { DWCP_LINK_STREAMS: 'auto', DWCP_MIGRATIONS_MAX_CPU_PERCENT: '50' };
  const steered = parseAgentConfig(MINIMAL, more, 'agent.yaml');
  assert.deepEqual([steered.link.streams, steered.migrations.maxCpuPercent], ['auto', 50]);
  assert.match(refusal(MINIMAL, { DWCP_LINK_STREAMS: '9999' }).message, /link\.streams/);
});

test('a bandwidth is bytes per second or text with a unit', () => {
  const config = parseAgentConfig(`${MINIMAL}\nlink: { maxBandwidth: 100MiB/s }`, {}, 'x');
  assert.equal(config.link.maxBandwidth, 100 * 2 ** 20);
});

test('voters are this host and peers of it, each once', () => {
  const withVoters = (voters: string): string =>
    `${MINIMAL}peers: [{ id: b, address: "10.0.0.2:7000" }]\ngroup: { voters: [${voters}] }\n`;
  const config = parseAgentConfig(withVoters('host-a, b'), {}, 'agent.yaml');
  assert.deepEqual(config.group.voters, ['host-a', 'b']);
  assert.deepEqual(parseAgentConfig(MINIMAL, {}, 'agent.yaml').group.voters, []);
  assert.match(refusal(withVoters('host-a, c')).message, /group\.voters: "c" cannot be one/);
  assert.match(refusal(withVoters('host-a, b, b')).message, /group\.voters: "b" cannot be one/);
  assert.match(refusal(withVoters('b')).message, /group\.voters: "host-a" is missing/);
});
