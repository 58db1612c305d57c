// Starts a bridge, posts the requests of standard input to it over HTTP, and says how it answered.
//
//   node live.mjs PATH-OF-OUTCOME-BRIDGE < requests.jsonl
//
// Each request has to get 200 as it was signed, and 401 once a byte of its body or a character of its
// credentials is changed. Everything is made in a temporary directory; nothing is left running.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

const here = new URL(".", import.meta.url).pathname;
const sources = JSON.parse(readFileSync(join(here, "sources.json"), "utf8"));
const START_LIMIT = 60_000;
const ANSWER_LIMIT = 20_000;
const STOP_LIMIT = 60_000;

let passed = 0;
let failed = 0;

function check(holds, what) {
  if (holds) {
    passed += 1;
  } else {
    failed += 1;
    console.error(`FAILED ${what}`);
  }
}

/** One source of the bridge for each public URL: the same vendor may have been told several. */
function plan(lines) {
  const names = new Map();
  for (const line of lines) {
    const key = `${line.source} ${line.public_url}`;
    if (!names.has(key)) {
      const others = [...names.keys()].filter((known) => known.startsWith(`${line.source} `)).length;
      names.set(key, { name: others ? `${line.source}-${others + 1}` : line.source, line });
    }
    line.at = names.get(key).name;
  }
  return [...names.values()];
}

function configuration(planned, ports) {
  const text = (value) => JSON.stringify(value).replaceAll("$", "$$$$");
  const tables = planned.map(({ name, line }) => {
    const { connector, settings } = sources[line.source];
    const rows = Object.entries({ connector, public_url: line.public_url, ...settings });
    return [`[sources.${name}]`, ...rows.map(([key, value]) => `${key} = ${text(value)}`)].join("\n");
  });
  return `[server]
bind = "127.0.0.1:${ports[0]}"

[admin]
bind = "127.0.0.1:${ports[1]}"

[storage]
dir = "data"

[connectors]
dir = ${text(join(here, "connectors"))}

${tables.join("\n\n")}
`;
}

async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer());
  for (const server of servers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const ports = servers.map((server) => server.address().port);
  for (const server of servers) server.close();
  return ports;
}

/** Sends exactly these bytes and headers; gives the status, or what went wrong. */
function send(port, method, path, headers, body) {
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, method, path, headers, timeout: ANSWER_LIMIT };
    const request = httpRequest(options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", (error) => resolve(error.message));
    });
    request.on("timeout", () => request.destroy(new Error("no answer in time")));
    request.on("error", (error) => resolve(error.message));
    request.end(body);
  });
}

async function ready(port, bridge) {
  const limit = Date.now() + START_LIMIT;
  while (Date.now() < limit && bridge.exitCode === null) {
    if ((await send(port, "GET", "/health/ready", {})) === 200) return true;
    await pause(100);
  }
  return false;
}

async function tryOut(port, line) {
  const body = readFileSync(join(here, "bodies", line.body));
  const path = `/webhooks/${line.at}${line.query ? `?${line.query}` : ""}`;
  const expect = async (status, what, headers, content) => {
    const answered = await send(port, line.method, path, headers, content);
    check(answered === status, `${line.name} ${what}: ${answered} instead of ${status}`);
  };
  await expect(200, "as signed", line.headers, body);
  const places = [0, 1, 2, 3].map((third) => Math.floor(((body.length - 1) * third) / 3));
  for (const at of new Set(places)) {
    const changed = Buffer.from(body);
    changed[at] ^= 1;
    await expect(401, `with byte ${at} changed`, line.headers, changed);
  }
  for (const name of sources[line.source].credentials) {
    const { [name]: value, ...others } = line.headers;
    await expect(401, `without ${name}`, others, body);
    if (line.several_signatures) continue;
    const at = value.length >> 1;
    const other = value[at] === "1" ? "2" : "1";
    const changed = value.slice(0, at) + other + value.slice(at + 1);
    await expect(401, `with a changed ${name}`, { ...line.headers, [name]: changed }, body);
  }
  await expect(200, "as signed, once more", line.headers, body);
}

async function stop(bridge) {
  if (bridge.exitCode !== null || bridge.signalCode !== null) return bridge.exitCode;
  const gone = once(bridge, "exit");
  bridge.kill("SIGTERM");
  const killer = setTimeout(() => bridge.kill("SIGKILL"), STOP_LIMIT);
  await gone;
  clearTimeout(killer);
  return bridge.exitCode;
}

/** Starts the bridge, tries everything out and stops it. */
async function run(binary, home, lines) {
  const logFile = join(home, "log");
  const log = openSync(logFile, "w");
  const ports = await freePorts(2);
  mkdirSync(join(home, "config"));
  writeFileSync(join(home, "config", "outcome-bridge.toml"), configuration(plan(lines), ports));
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("OUTCOME_BRIDGE_"));
  const bridge = spawn(binary, ["serve", "--config", join(home, "config")], {
    cwd: home, env: Object.fromEntries(own), stdio: ["ignore", log, log],
  });
  process.once("exit", () => bridge.kill("SIGKILL"));
  await once(bridge, "spawn"); // Throws when the program cannot be started.
  const started = await ready(ports[0], bridge);
  check(started, "the bridge is ready");
  if (started) {
    for (const line of lines) await tryOut(ports[0], line);
    check((await stop(bridge)) === 0, "the bridge stops when asked to");
  }
  closeSync(log);
  const told = readFileSync(logFile, "utf8");
  if (started) {
    for (const [name, { settings, secret }] of Object.entries(sources)) {
      check(!told.includes(settings[secret]), `the secret of ${name} is not in the log`);
    }
  }
  if (failed) console.error(told.split("\n").slice(-40).join("\n"));
}

async function main(binary) {
  const lines = readFileSync(0, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
  if (!lines.length) throw new Error("there is no request on standard input");
  const home = mkdtempSync(join(tmpdir(), "outcome-bridge-sdk-"));
  process.once("exit", () => rmSync(home, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));
  try {
    await run(binary, home, lines);
  } catch (error) {
    check(false, error.message);
  }
  console.log(`${lines.length} requests by ${new Set(lines.map((line) => line.sdk)).size} SDKs`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

await main(process.argv[2]);
