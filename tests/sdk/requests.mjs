// What the signing scripts share: the sources, the bodies, the moment, and the shape of a line.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const here = import.meta.dirname ?? dirname(new URL(import.meta.url).pathname);
const require = createRequire(import.meta.url);

/** Where vendors are told to post; stands in front of the bridge, so it is not the bridge's own address. */
export const PUBLIC_URL = "https://hooks.example.com/webhooks";

export const sources = JSON.parse(readFileSync(join(here, "sources.json"), "utf8"));

/** The moment of the recorded requests, or the one given as the first argument ("now" or ISO 8601). */
export const now = new Date(
  process.argv[2] === "now" ? Date.now() : (process.argv[2] ?? "2026-05-06T16:10:05Z"),
);
now.setMilliseconds(0);

/** The text of a file in bodies/. All bodies are UTF-8, since the SDKs take text. */
export function body(file) {
  return readFileSync(join(here, "bodies", file), "utf8");
}

/** The version of an installed package, which its `exports` may hide. */
function version(sdk) {
  for (const folder of require.resolve.paths(sdk)) {
    const manifest = join(folder, sdk, "package.json");
    if (existsSync(manifest)) return JSON.parse(readFileSync(manifest, "utf8")).version;
  }
  throw new Error(`${sdk} is not installed`);
}

/**
 * Prints one request as a line. `by` says which function made the signature, `several` that not every
 * signature in the header is meant to be right.
 */
export function record({ source, sdk, by, file, variant, several = false, url, query = "", headers, type }) {
  const content = body(file);
  const line = {
    name: [source, "node", variant ?? file].join("/"),
    source,
    sdk: `npm:${sdk}@${version(sdk)}`,
    signed_by: by,
    public_url: url ?? `${PUBLIC_URL}/${source}`,
    method: "POST",
    query,
    several_signatures: several,
    headers: { "content-type": type ?? "application/json", ...headers },
    body: file,
    body_sha256: createHash("sha256").update(content).digest("hex"),
    now: now.toISOString().replace(".000Z", "Z"),
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
