// A bridge of its own for the browser: started from the built program, filled by its own command line and APIs.

import { execFileSync, spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

export const ADMIN = "admin-token-of-the-browser";
export const VIEWER = "viewer-token-of-the-browser";
const KEY = "store-key-of-the-browser";
const SECRET = Buffer.from("the-teams-own-secret-32-bytes-long").toString("base64");
const PATIENCE = 60_000;
const DAY = 86_400_000;

/** What must never be more than text. */
export const MARKUP = `"'><img src=x onerror="window.harmed=1"><script>window.harmed=1</script><b>`;

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

const configuration = ([inlet, office]) => `
[server]
bind = "127.0.0.1:${inlet}"
public_url = "http://127.0.0.1:${inlet}"

[admin]
bind = "127.0.0.1:${office}"
token = "${ADMIN}"
viewer_token = "${VIEWER}"

[storage]
dir = "data"

[store]
currency = "USD"

[store.keys.team]
hash = "sha256:${createHash("sha256").update(KEY).digest("hex")}"

[sources.team]
connector = "standard-webhooks"
signing_secret = "whsec_${SECRET}"
`;

export class Bridge {
  /** Starts the program in a directory of its own and waits until it is ready. */
  static async start(program, home) {
    const bridge = new Bridge();
    Object.assign(bridge, { program, home, ports: await freePorts(2) });
    mkdirSync(join(home, "config"), { recursive: true });
    writeFileSync(join(home, "config", "outcome-bridge.toml"), configuration(bridge.ports));
    writeFileSync(join(home, "token"), ADMIN);
    const log = openSync(join(home, "log"), "w");
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("OUTCOME_BRIDGE_")));
    bridge.env = env;
    bridge.process = spawn(program, ["serve", "--config", join(home, "config")], { cwd: home, env, stdio: ["ignore", log, log] });
    process.once("exit", () => bridge.process.kill("SIGKILL"));
    await once(bridge.process, "spawn");
    await bridge.until("the bridge is ready", async () => {
      if (bridge.process.exitCode !== null) throw new Error(`the bridge ended: ${bridge.log()}`);
      return (await fetch(`${bridge.url}/health/ready`).catch(() => null))?.ok;
    });
    return bridge;
  }

  get url() {
    return `http://127.0.0.1:${this.ports[1]}`;
  }

  log() {
    return readFileSync(join(this.home, "log"), "utf8").split("\n").slice(-30).join("\n");
  }

  async until(what, holds) {
    const limit = Date.now() + PATIENCE;
    while (Date.now() < limit) {
      if (await holds()) return;
      await pause(50);
    }
    throw new Error(`waited in vain until ${what}`);
  }

  /** Asks the admin API. */
  async ask(path) {
    const reply = await fetch(`${this.url}/admin/v1${path}`, { headers: { authorization: `Bearer ${ADMIN}` } });
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${text}`);
    return JSON.parse(text);
  }

  /** Brings calls in with `calls import`. */
  importCalls(calls) {
    const file = join(this.home, "calls.jsonl");
    writeFileSync(file, calls.map((call) => JSON.stringify(call)).join("\n"));
    execFileSync(this.program, ["calls", "import", file, "--url", this.url, "--token-file", join(this.home, "token")], {
      env: this.env, stdio: ["ignore", "ignore", "inherit"],
    });
  }

  /** Sets an outcome as a client of Phonely's API does. */
  async report(agent, call, body) {
    const path = `/api/calls/${encodeURIComponent(agent)}/${encodeURIComponent(call)}`;
    const reply = await fetch(`http://127.0.0.1:${this.ports[0]}${path}`, {
      method: "PATCH", headers: { "x-authorization": KEY, "content-type": "application/json" }, body: JSON.stringify(body),
    });
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  }

  /** Tells of an outcome by a signed webhook. */
  async hear(id, body) {
    const text = JSON.stringify(body);
    const at = Math.floor(Date.now() / 1000);
    const signature = createHmac("sha256", Buffer.from(SECRET, "base64")).update(`${id}.${at}.${text}`).digest("base64");
    const reply = await fetch(`http://127.0.0.1:${this.ports[0]}/webhooks/team`, {
      method: "POST", body: text,
      headers: { "content-type": "application/json", "webhook-id": id, "webhook-timestamp": `${at}`, "webhook-signature": `v1,${signature}` },
    });
    if (!reply.ok) throw new Error(`webhook ${id}: ${reply.status} ${await reply.text()}`);
  }

  async stop() {
    const gone = once(this.process, "exit");
    this.process.kill("SIGTERM");
    const [code] = await gone;
    return code;
  }
}

/** Six weeks of calls, up to now; some are hostile, some are large. */
export async function fill(bridge) {
  const now = Date.now();
  const labels = [["Sold", 250.5], ["Appointment Booked", null], ["Appointment Completed", null], ["Appointment No-Show", null], ["Not Interested", null], [null, null], [null, null]];
  const campaigns = ["spring", "autumn", "winter"];
  const agents = ["anna", "bert", "clara, night shift"];
  const calls = [];
  const reports = [];
  for (let no = 0; no < 90; no += 1) {
    const start = new Date(now - 3_600_000 - no * 0.46 * DAY);
    const [agent, campaign] = [agents[no % 3], campaigns[(no * 7) % 3]];
    calls.push({
      call_id: `call-${no}`, agent_id: agent, platform: no % 2 ? "phonely" : "vapi", direction: no % 4 ? "inbound" : "outbound",
      phone: `+1415555${String(1000 + (no % 60))}`, started_at: start.toISOString(), duration_seconds: 30 + no * 3,
      metadata: { campaign, no }, recording_url: `https://recordings.example/${no}`, transcript: `Agent: Hello, this is ${agent}.\nCaller: Hi!`,
    });
    const [label, value] = labels[(no * 5) % labels.length];
    if (label) reports.push([agent, `call-${no}`, { custom_call_outcome: label, ...(value && { custom_call_outcome_value: value + no }) }]);
  }
  const recent = new Date(now - 2 * DAY).toISOString();
  calls.push(
    { call_id: MARKUP, agent_id: MARKUP, platform: MARKUP, direction: MARKUP, started_at: recent, recording_url: `https://recordings.example/?"><script>window.harmed=1</script>`, transcript: `${MARKUP}\n${"Long. ".repeat(60_000)}`, metadata: { campaign: MARKUP, [MARKUP]: MARKUP } },
    { call_id: "large", agent_id: "anna", started_at: recent, metadata: { campaign: "spring", blob: "x".repeat(1_000_000) } },
    { call_id: "twice", agent_id: "anna", started_at: recent, phone: "+14155559001" },
    { call_id: "twice", agent_id: "bert", started_at: recent, phone: "+14155559002" },
    { call_id: "told", agent_id: "bert", started_at: recent, phone: "+14155559003", metadata: { campaign: "spring" } },
  );
  bridge.importCalls(calls);
  for (const [agent, call, body] of reports) await bridge.report(agent, call, body);
  await bridge.report("bert", "call-1", { custom_call_outcome: MARKUP, custom_call_metadata: { why: MARKUP } });
  const later = (hours) => new Date(now - 2 * DAY + hours * 3_600_000).toISOString();
  const holds = (kind) =>
    bridge.until(`${kind} is delivered`, async () => {
      const found = await bridge.ask("/calls?call=told");
      return found.items.some((call) => call.outcome?.kind === kind);
    });
  // One after the other: what is overtaken before it was delivered is in no log.
  await bridge.hear("msg_1", { outcome: "shown", call_id: "told", occurred_at: later(3) });
  await holds("shown");
  await bridge.hear("msg_2", { outcome: "closed", call_id: "told", occurred_at: later(30), value: "1200.00", currency: "EUR" });
  await holds("closed");
}
