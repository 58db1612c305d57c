// Opens the console of a real bridge in a real browser.
//
//   node pages.mjs PATH-OF-OUTCOME-BRIDGE PATH-OF-CHROMIUM [DIRECTORY-FOR-PICTURES]
//
// The numbers on the pages have to be the API's, every number has to lead to as many calls, and to those that the API
// lists; no page may log an error, ask another host, hurt an accessibility rule or leave a keyboard behind. Everything is made in a
// temporary directory; nothing is left running.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { ADMIN, Bridge, MARKUP, VIEWER, fill } from "./bridge.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 900 };
const [program, browserPath, pictures] = process.argv.slice(2);

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

function same(found, expected, what) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  check(one === other, `${what}: the page has ${one.slice(0, 400)}, the API ${other.slice(0, 400)}`);
}

/** A tab that notes whatever must not happen in it. */
async function open(browser, bridge, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) check(false, `nothing is logged at ${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => check(false, `no script fails at ${page.url()}: ${error}`));
  page.on("dialog", (dialog) => check(false, `no dialog opens: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(bridge.url) && !request.url().startsWith("data:")) check(false, `no other host is asked: ${request.url()}`);
  });
  return page;
}

async function logIn(page, bridge, token, path = "/console/performance") {
  await page.goto(bridge.url + path);
  check(new URL(page.url()).pathname === "/console/login", "an anonymous visitor is sent to the log-in");
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL(bridge.url + path);
}

const number = (text) => Number(text.replaceAll(",", ""));
const rows = (page, table) => page.locator(`#${table} tbody tr`).evaluateAll((found) => found.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));
const share = (rate) => (rate === null ? "–" : `${(rate * 100).toFixed(1)}\u00a0%`);

/** The numbers of the performance page are those of the API, for these parameters. */
async function compare(page, bridge, parameters) {
  const what = `performance?${decodeURIComponent(parameters)}`;
  const answer = await page.goto(`${bridge.url}/console/performance?${parameters}`);
  check(answer.status() === 200, `${what} is there`);
  const query = new URLSearchParams(parameters);
  const shares = query.get("show") === "share";
  const ask = (question, also = [], more = {}) => {
    const all = new URLSearchParams(query);
    const own = ["show", "split", "groups", "to_what", "mature_after"].filter((name) => !also.includes(name));
    for (const name of own) all.delete(name);
    for (const [name, value] of Object.entries(more)) all.has(name) || all.set(name, value);
    return bridge.ask(`/analytics/${question}?${all}`);
  };
  const report = await ask("report", ["groups"], { compare: "previous" });
  const trend = report.trend.parts;
  const parts = (await rows(page, "parts")).map((cells) => [number(cells[1]), cells[2], number(cells[3])]);
  const expected = report.parts.map((part, place) => [part.calls, share(part.rate), trend[place].calls]);
  same(parts, [...expected, [report.all.calls, share(report.all.rate), report.trend.calls]], `${what}: outcomes or groups`);
  const shown = query.has("groups") ? report.parts : report.parts.slice(0, 7);
  const cell = (part, place) => (shares ? share(part.rate_by_bucket[place]) : String(part.by_bucket[place]));
  const buckets = report.buckets.map((_, place) => [String(report.all.by_bucket[place]), cell(report.with_outcome, place), ...shown.map((part) => cell(part, place))]);
  same((await rows(page, "buckets")).map((cells) => cells.slice(1)), buckets, `${what}: by day or week`);
  same(number(await page.locator("#all-calls").innerText()), report.all.calls, `${what}: all calls`);
  same(number(await page.locator("#with-outcome").innerText()), report.with_outcome.calls, `${what}: with an outcome`);
  const funnel = await ask("funnel");
  same((await rows(page, "stages")).map((cells) => [cells[0], number(cells[1]), cells[2]]), funnel.stages.map((stage) => [stage.name, stage.calls, share(stage.rate)]), `${what}: funnel`);
  const goal = await ask("conversion", ["to_what", "mature_after"]);
  const [old, young] = await rows(page, "maturity");
  const interval = goal.low === null ? "" : `${share(goal.low)} – ${share(goal.high)}`;
  same([number(old[1]), number(old[2]), old[3], old[4]], [goal.calls, goal.converted, share(goal.rate), interval], `${what}: conversion`);
  same([number(young[1]), number(young[2])], [goal.young, goal.young_converted], `${what}: young calls`);
  const delay = await ask("delay");
  same(number((await rows(page, "delays"))[0][0]), delay.calls, `${what}: time to outcome`);
  const lines = await ask("breakdown", ["split"], { split: "agent" });
  same((await rows(page, "lines")).map((cells) => [number(cells[1]), number(cells[2]), cells[3]]), lines.items.map((line) => [line.calls, line.with_outcome, share(line.outcome_rate)]), `${what}: breakdown`);
}

/** Every number and every mark of the charts leads to a list of exactly so many calls: those that the API lists. */
async function followAll(page, bridge) {
  const links = await page.locator('main a[href^="/console/calls?"]').evaluateAll((found) => found.map((link) => [link.getAttribute("href"), link.getAttribute("aria-label") ?? link.textContent.trim()]));
  check(links.length > 20, `there are many links: ${links.length}`);
  const known = new Map();
  for (const [href, text] of links) {
    if (!known.has(href)) known.set(href, await list(page, bridge, href));
    const labelled = /: ([\d,]+)(?: of| calls?\b|$)/.exec(text);
    const plain = /^[\d,]+$/.test(text);
    if (labelled || plain) same(known.get(href), number(labelled ? labelled[1] : text), `the list behind “${text}” (${decodeURIComponent(href)})`);
  }
  return known.size;
}

/** How many calls a list has, page by page. */
async function list(page, bridge, href) {
  const found = [];
  for (let next = `${href}&limit=40`; next;) {
    const reply = await page.request.get(bridge.url + next);
    const text = await reply.text();
    check(reply.status() === 200, `${next} is there`);
    found.push(...[...text.matchAll(/data-call="([^"]+)"/g)].map((match) => match[1]));
    next = /rel="next" href="([^"]+)"/.exec(text)?.[1].replaceAll("&amp;", "&");
  }
  const api = await bridge.ask(`/analytics/calls?${href.split("?")[1]}&limit=1000`);
  same(found, api.items.map((call) => call.id), `the list ${href}`);
  return found.length;
}

/** Axe finds nothing serious, and nothing is wider than the window. */
async function inspect(page, what) {
  for (const colorScheme of ["light", "dark"]) {
    for (const viewport of [DESKTOP, PHONE]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize(viewport);
      const where = `${what}, ${colorScheme}, ${viewport.width} pixels`;
      await page.evaluate(AXE);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      const bad = found.violations.filter((violation) => ["serious", "critical"].includes(violation.impact));
      const told = bad.map((violation) => `${violation.id}: ${violation.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
      check(bad.length === 0, `axe finds nothing serious: ${where}: ${told.join("; ")}`);
      check(found.passes.length > 5, `axe has looked: ${where}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      check(wide <= 0, `nothing is wider than the window: ${where} by ${wide}`);
      if (pictures) await page.screenshot({ path: join(pictures, `${where.replaceAll(/[^\w]+/g, "-")}.png`), fullPage: true });
    }
  }
  await page.setViewportSize(DESKTOP);
  await page.emulateMedia({ colorScheme: "light" });
}

/** Everything that can be reached is reached by the tab key, in order, and can be seen to be. */
async function walk(page, bridge) {
  await page.goto(`${bridge.url}/console/performance`);
  await page.keyboard.press("Tab");
  same(await page.evaluate(() => document.activeElement.textContent), "Skip to the content", "the first stop leads to the content");
  await page.keyboard.press("Enter");
  same(await page.evaluate(() => location.hash), "#main", "it leads there");
  await page.goto(`${bridge.url}/console/performance`);
  const stops = await page.evaluate(() => {
    const reachable = document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']");
    const visible = [...reachable].filter((element) => element.checkVisibility());
    visible.forEach((element, place) => element.setAttribute("data-stop", place));
    return visible.length;
  });
  const seen = new Set();
  const unseen = [];
  for (let presses = 0; presses < stops * 4 && seen.size < stops; presses += 1) {
    await page.keyboard.press("Tab");
    const { stop, visible, name } = await page.evaluate(() => {
      const element = document.activeElement;
      const style = getComputedStyle(element);
      const mark = element.querySelector("rect") ?? element;
      const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      return { stop: element.getAttribute("data-stop"), visible: outlined || parseFloat(getComputedStyle(mark).strokeWidth) >= 2, name: element.outerHTML.slice(0, 120) };
    });
    // A date has several stops within it.
    if (stop !== null && !seen.has(stop)) {
      seen.add(stop);
      if (!visible) unseen.push(name);
    }
  }
  same(seen.size, stops, "the tab key reaches everything");
  same(unseen, [], "where the keyboard is can be seen");
  await page.locator("svg.columns a").last().focus();
  await page.keyboard.press("Enter");
  await page.waitForURL("**/console/calls?**");
}

/** From a bar to the calls to one call, and back. */
async function drillDown(page, bridge) {
  await page.goto(`${bridge.url}/console/performance`);
  const bar = page.locator("svg.bars a").first();
  const label = await bar.getAttribute("aria-label");
  await bar.click();
  await page.waitForURL("**/console/calls?**");
  const counted = /: ([\d,]+) of/.exec(label)[1];
  same(await page.locator("h1").innerText(), `${counted} call${counted === "1" ? "" : "s"}`, "a click on a bar leads to its calls");
  await page.locator("#calls tbody th a").first().click();
  await page.waitForURL("**/console/calls/**");
  check(await page.locator("#transcript").isVisible(), "a call shows its transcript");
  await page.goBack();
  await page.goBack();
  same(new URL(page.url()).pathname, "/console/performance", "the way back leads to the same page");
  // The one that was drawn last: what it stands for may lie behind it, and nothing lies before it.
  await page.locator("svg.columns a").last().click();
  await page.waitForURL("**/console/calls?**");
  // The call that webhooks told of: its log and the story of each event.
  await page.goto(`${bridge.url}/console/calls`);
  await page.getByLabel("Find a call").fill("told");
  await page.getByRole("button", { name: "Find" }).click();
  await page.locator("#calls tbody th a").first().click();
  same(await page.locator("#changes tbody tr").count(), 2, "both changes are in the log");
  same(await page.locator("details:has(pre) summary").count(), 2, "both events are there");
  const story = await page.locator("details pre").first().innerText();
  check(/became\s+mapped/.test(story) && story.includes("closed"), `the story tells what the event became: ${story}`);
  await inspect(page, "call");
  await page.getByRole("link", { name: /^evt_/ }).first().click();
  check(/became\s+mapped/.test(await page.locator("pre").innerText()), "an event has a page");
  await inspect(page, "event");
}

/** Groups are added, renamed and removed, and live in the address. */
async function groups(page, bridge) {
  await page.goto(`${bridge.url}/console/performance`);
  const add = async (name, choose) => {
    await page.getByText("Add a group").click();
    await page.locator(".adding").getByLabel("Name").fill(name);
    await choose(page.locator(".adding"));
    await page.getByRole("button", { name: "Add" }).click();
    await page.waitForURL((url) => (url.searchParams.get("groups") ?? "").includes(JSON.stringify(name)));
  };
  await add(`Won ${MARKUP}`, (form) => form.getByLabel("closed", { exact: true }).first().check());
  await add("Spring", (form) => form.getByLabel("Metadata").fill("campaign=spring"));
  await add("Anna came to booked", async (form) => {
    await form.getByLabel("Agent").selectOption("anna");
    await form.getByLabel("Came to").selectOption("booked");
  });
  await page.getByLabel("Name of group 1").fill("Won");
  await page.getByRole("button", { name: "Rename" }).first().click();
  await page.waitForURL((url) => (url.searchParams.get("groups") ?? "").includes('"Won"'));
  const address = new URL(page.url()).search.slice(1);
  same((await rows(page, "parts")).map((cells) => cells[0]), ["Won", "Spring", "Anna came to booked", "All calls"], "the groups are compared");
  await compare(page, bridge, address);
  await followAll(page, bridge);
  await inspect(page, "groups");
  await page.getByRole("link", { name: "Remove Spring" }).click();
  await page.waitForURL((url) => !url.searchParams.get("groups").includes("Spring"));
  same((await rows(page, "parts")).map((cells) => cells[0]), ["Won", "Anna came to booked", "All calls"], "a group is removed");
}

/** The form works, with and without scripts. */
async function form(page, bridge) {
  await page.goto(`${bridge.url}/console/performance`);
  await page.locator("select[name=by]").selectOption("week");
  await page.locator(".controls").getByLabel("Agent").selectOption({ label: "clara, night shift" });
  await page.locator("select[name=show]").selectOption("share");
  await page.locator(".controls").getByRole("button", { name: "Show" }).click();
  await page.waitForURL("**/console/performance?**");
  const parameters = new URL(page.url()).searchParams;
  same([parameters.get("by"), parameters.get("agent"), parameters.get("show")], ["week", '["clara, night shift"]', "share"], "the form is in the address");
  await compare(page, bridge, parameters.toString());
}

async function hostile(page, bridge) {
  const found = await bridge.ask(`/calls?call=${encodeURIComponent(MARKUP)}`);
  same(found.items.length, 1, "the hostile call is there");
  await page.goto(`${bridge.url}/console/calls/${found.items[0].id}`);
  same(await page.locator("main img, main script, main b").count(), 0, "markup is text");
  same(await page.locator('a[href^="javascript:"]').count(), 0, "only web addresses are links");
  check((await page.locator("main").innerText()).includes(MARKUP), "it is shown as it came");
  await inspect(page, "hostile call");
  for (const name of ["large", "twice"]) {
    const { items } = await bridge.ask(`/calls?call=${name}`);
    same(items.length, name === "twice" ? 2 : 1, `${name} is there`);
    for (const call of items) {
      const answer = await page.goto(`${bridge.url}/console/calls/${call.id}`);
      check(answer.status() === 200 && (await answer.body()).length < 400_000, `${name} has a page of a bearable size`);
      check((await page.locator("dl").first().innerText()).includes(call.agent_id), `${name} is the call of ${call.agent_id}`);
    }
  }
  check((await page.evaluate(() => window.harmed)) === undefined, "no script of others runs");
}

async function run(browser, bridge) {
  const page = await open(browser, bridge);
  await page.goto(`${bridge.url}/console/login`);
  await inspect(page, "log-in");
  await logIn(page, bridge, ADMIN);
  check((await page.locator("h2").first().innerText()) === "No calls yet", "an empty store tells what to do first");
  await inspect(page, "empty");
  await fill(bridge);
  await page.goto(`${bridge.url}/console`);
  await inspect(page, "home");
  await page.getByRole("link", { name: "Performance" }).first().click();
  await inspect(page, "performance");
  const group = encodeURIComponent(JSON.stringify([{ name: "a", where: { agents: ["anna"] } }, { name: "b", where: { metadata: "campaign=autumn", kinds: ["closed"] } }]));
  for (const parameters of [
    "", "show=share&by=week&week_start=sunday", "zone=Asia/Kolkata&agent=anna,bert", `metadata=campaign%3Dspring&groups=${group}`,
    "attribution=first&split=kind", "attribution=last&kind=closed", "split=metadata.campaign&to_what=%7B%22kinds%22%3A%5B%22shown%22%5D%7D&mature_after=48h",
    "split=label&label=Sold",
  ]) {
    await compare(page, bridge, parameters);
    await followAll(page, bridge);
  }
  await page.goto(`${bridge.url}/console/performance?from=1999-01-01&to=1999-02-01`);
  check(await page.getByText("No calls here").isVisible(), "a period without calls says so");
  await inspect(page, "no calls");
  await page.getByRole("link", { name: "Show the 30 days up to it" }).click();
  check(await page.locator("#buckets").isVisible(), "and leads to one with calls");
  await drillDown(page, bridge);
  await groups(page, bridge);
  await form(page, bridge);
  await walk(page, bridge);
  await hostile(page, bridge);
  await page.goto(`${bridge.url}/console/calls`);
  await inspect(page, "calls");
  await page.context().close();

  const still = await open(browser, bridge, { javaScriptEnabled: false });
  await logIn(still, bridge, VIEWER);
  check(await still.locator("#buckets").isVisible(), "a viewer reads the page without scripts");
  await still.locator("select[name=by]").selectOption("week");
  await still.locator(".controls").getByRole("button", { name: "Show" }).click();
  await still.waitForURL("**/console/performance?**by=week**");
  await still.getByRole("button", { name: "Log out" }).click();
  await still.waitForURL("**/console/login");
  await still.context().close();
}

async function main() {
  const home = mkdtempSync(join(tmpdir(), "outcome-bridge-browser-"));
  process.once("exit", () => rmSync(home, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => process.exit(1));
  let bridge;
  let browser;
  try {
    bridge = await Bridge.start(program, home);
    browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
    await run(browser, bridge);
  } catch (error) {
    check(false, error.stack);
    if (bridge) console.error(bridge.log());
  }
  await browser?.close();
  if (bridge) check((await bridge.stop()) === 0, "the bridge stops when asked to");
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

await main();
