// Signs requests with the vendors' own SDKs for Node and prints them, one JSON object per line.
//
//   node sign.mjs          the recorded moment: the same bytes each time
//   node sign.mjs now      fresh requests
//
// Where an SDK only verifies (Shopify, Square, HighLevel), node's crypto signs and the SDK has to agree.

import { createHmac, createPrivateKey, sign as signWithKey, webcrypto } from "node:crypto";
import { createRequire } from "node:module";

import { WebhookManager } from "@gohighlevel/api-client";
import { Signature } from "@hubspot/api-client";
import * as octokit from "@octokit/webhooks-methods";
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, shopifyApi } from "@shopify/shopify-api";
import { WebhooksHelper } from "square";
import { Webhook as StandardWebhook } from "standardwebhooks";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

import { body, now, PUBLIC_URL, record, sources } from "./requests.mjs";

const require = createRequire(import.meta.url);
globalThis.crypto ??= webcrypto; // Node 18 has it, but not under this name.

const JSON_BODIES = [
  "ascii.json", "latin.json", "emoji.json", "nested.json", "empty.json", "odd.json", "text.txt", "large.json",
];
const FORM_BODIES = ["ascii.form", "latin.form", "emoji.form", "repeated.form", "large.form"];
const FORM = "application/x-www-form-urlencoded";
const seconds = Math.floor(now.getTime() / 1000);

const secretOf = (source) => sources[source].settings[sources[source].secret];

function must(agreed, what) {
  if (agreed !== true) throw new Error(`the SDK does not agree: ${what}`);
}

function stripe() {
  const source = "stripe";
  const secret = secretOf(source);
  const by = "Stripe.webhooks.generateTestHeaderString";
  const sign = (payload, scheme) =>
    Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp: seconds, scheme });
  for (const file of [...JSON_BODIES, "stripe.json"]) {
    record({ source, sdk: "stripe", by, file, headers: { "stripe-signature": sign(body(file)) } });
  }
  // While a secret is rolled Stripe sends a signature for each, and test mode adds one of scheme v0.
  const file = "stripe.json";
  const old = Stripe.webhooks.generateTestHeaderString({
    payload: body(file), secret: sources[source].retired, timestamp: seconds,
  });
  const [, ours] = sign(body(file)).split(",");
  const [, v0] = sign(body(file), "v0").split(",");
  const header = `${old},${ours},${v0}`;
  record({
    source, sdk: "stripe", by, file, variant: "rolled-secret", several: true, headers: { "stripe-signature": header },
  });
}

function svixAndStandardWebhooks() {
  const kinds = [
    { source: "svix", sdk: "svix", prefix: "svix", Webhook: SvixWebhook },
    { source: "standard-webhooks", sdk: "svix", prefix: "webhook", Webhook: SvixWebhook, only: "emoji.json" },
    { source: "standard-webhooks", sdk: "standardwebhooks", prefix: "webhook", Webhook: StandardWebhook },
  ];
  for (const { source, sdk, prefix, Webhook, only } of kinds) {
    const headers = (id, signature) => ({
      [`${prefix}-id`]: id, [`${prefix}-timestamp`]: `${seconds}`, [`${prefix}-signature`]: signature,
    });
    const by = "Webhook.sign";
    const webhook = new Webhook(secretOf(source));
    for (const file of only ? [only] : JSON_BODIES) {
      const id = `msg_${sdk}_${file.replace(".", "_")}`;
      const variant = only && `${only}-by-svix`;
      record({ source, sdk, by, file, variant, headers: headers(id, webhook.sign(id, now, body(file))) });
    }
    if (only) continue;
    const file = "latin.json";
    const id = `msg_${sdk}_rotated`;
    const old = new Webhook(sources[source].retired).sign(id, now, body(file));
    const both = `${old} ${webhook.sign(id, now, body(file))} v1a,bm90IGEgc2lnbmF0dXJl`;
    record({ source, sdk, by, file, variant: "rotated-secret", several: true, headers: headers(id, both) });
  }
}

function hubspot() {
  const sdk = "@hubspot/api-client";
  const clientSecret = secretOf("hubspot");
  const milliseconds = now.getTime();
  const signature = (version, file, url) =>
    Signature.getSignature("POST", version, {
      clientSecret, requestBody: body(file), url, timestamp: milliseconds,
    });
  const third = (file, signed, extra) => {
    const headers = {
      // Sent beside the newer one; it must not count.
      "x-hubspot-signature": signature("v1", file),
      "x-hubspot-signature-version": "v1",
      "x-hubspot-request-timestamp": `${milliseconds}`,
      "x-hubspot-signature-v3": signature("v3", file, signed),
    };
    record({ source: "hubspot", sdk, by: "Signature.getSignature v3", file, headers, ...extra });
  };
  for (const file of [...JSON_BODIES, "hubspot.json"]) {
    third(file, `${PUBLIC_URL}/hubspot`);
    record({
      source: "hubspot-workflow", sdk, by: "Signature.getSignature v2", file,
      headers: {
        "x-hubspot-signature": signature("v2", file, `${PUBLIC_URL}/hubspot-workflow`),
        "x-hubspot-signature-version": "v2",
      },
    });
    record({
      source: "hubspot-v1", sdk, by: "Signature.getSignature v1", file,
      headers: { "x-hubspot-signature": signature("v1", file), "x-hubspot-signature-version": "v1" },
    });
  }
  // HubSpot decodes some characters of the URL before it signs, but not all.
  third("latin.json", `${PUBLIC_URL}/hubspot?team=a/b:c&note=d%20e`, {
    variant: "query", query: "team=a%2Fb%3Ac&note=d%20e",
  });
}

async function shopify() {
  const source = "shopify";
  const api = shopifyApi({
    apiKey: "key", apiSecretKey: secretOf(source), scopes: ["read_orders"], hostName: "hooks.example.com",
    apiVersion: ApiVersion.January25, isEmbeddedApp: false, logger: { log: () => {} },
  });
  for (const file of [...JSON_BODIES, "shopify.json"]) {
    const rawBody = body(file);
    const headers = {
      "x-shopify-topic": "orders/paid",
      "x-shopify-hmac-sha256": createHmac("sha256", secretOf(source)).update(rawBody).digest("base64"),
      "x-shopify-shop-domain": "example.myshopify.com",
      "x-shopify-api-version": "2025-01",
      "x-shopify-webhook-id": `b54557e4-bdd9-4b37-8a5f-${file.length}`,
    };
    const rawRequest = { method: "POST", url: "/webhooks/shopify", headers };
    const validated = await api.webhooks.validate({ rawBody, rawRequest, rawResponse: {} });
    must(validated.valid, `shopify ${file}: ${JSON.stringify(validated)}`);
    record({ source, sdk: "@shopify/shopify-api", by: "webhooks.validate agrees", file, headers });
  }
}

async function github() {
  const source = "github";
  for (const file of [...JSON_BODIES, "github.json"]) {
    const headers = {
      "x-github-event": "repository_dispatch",
      "x-hub-signature-256": await octokit.sign(secretOf(source), body(file)),
    };
    record({ source, sdk: "@octokit/webhooks-methods", by: "sign", file, headers });
  }
}

function highlevel() {
  const sdk = "@gohighlevel/api-client";
  const logger = { debug() {}, info() {}, warn() {}, error() {} };
  const manager = new WebhookManager(logger, undefined, undefined);
  const key = (source) => createPrivateKey({ key: sources[source].private_key, format: "jwk" });
  const kinds = [
    ["highlevel", "x-ghl-signature", null, "verifyEd25519Signature"],
    ["highlevel-legacy", "x-wh-signature", "sha256", "verifySignature"],
  ];
  for (const [source, header, hash, check] of kinds) {
    for (const file of [...JSON_BODIES, "highlevel.json"]) {
      const signature = signWithKey(hash, Buffer.from(body(file)), key(source)).toString("base64");
      must(manager[check](body(file), signature, secretOf(source)), `${source} ${file}`);
      record({ source, sdk, by: `WebhookManager.${check} agrees`, file, headers: { [header]: signature } });
    }
  }
}

async function retell() {
  const source = "retell";
  const { symmetric } = require("retell-sdk/lib/webhook_auth");
  for (const file of [...JSON_BODIES, "retell.json"]) {
    const signature = await symmetric.sign(body(file), secretOf(source), now.getTime());
    record({ source, sdk: "retell-sdk", by: "symmetric.sign", file, headers: { "x-retell-signature": signature } });
  }
}

async function square() {
  const source = "square";
  const signatureKey = secretOf(source);
  for (const file of [...JSON_BODIES, "square.json"]) {
    const notificationUrl = `${PUBLIC_URL}/${source}`;
    const requestBody = body(file);
    const signatureHeader = createHmac("sha256", signatureKey).update(notificationUrl + requestBody).digest("base64");
    const agreed = await WebhooksHelper.verifySignature({ requestBody, signatureHeader, signatureKey, notificationUrl });
    must(agreed, `square ${file}`);
    const headers = { "x-square-hmacsha256-signature": signatureHeader };
    record({ source, sdk: "square", by: "WebhooksHelper.verifySignature agrees", file, headers });
  }
}

function twilio() {
  const sdk = "twilio";
  const by = "getExpectedTwilioSignature";
  const { getExpectedBodyHash, getExpectedTwilioSignature } = require("twilio/lib/webhooks/webhooks");
  const token = secretOf("twilio");
  const form = (file, signed, extra) => {
    const params = {};
    for (const [name, value] of new URLSearchParams(body(file))) {
      params[name] = name in params ? [params[name], value].flat() : value;
    }
    const headers = { "x-twilio-signature": getExpectedTwilioSignature(token, signed, params) };
    record({ source: "twilio", sdk, by, file, type: FORM, headers, ...extra });
  };
  for (const file of FORM_BODIES) form(file, `${PUBLIC_URL}/twilio`);
  const query = "agent=7&label=caf%C3%A9%20au%20lait";
  form("latin.form", `${PUBLIC_URL}/twilio?${query}`, { variant: "query", query });
  form("ascii.form", "https://hooks.example.com:443/webhooks/twilio", { variant: "port-signed" });
  form("ascii.form", "https://hooks.example.com/webhooks/twilio", {
    variant: "port-not-signed", url: "https://hooks.example.com:8443/webhooks/twilio",
  });
  for (const file of JSON_BODIES) {
    const query = `bodySHA256=${getExpectedBodyHash(body(file))}`;
    const signature = getExpectedTwilioSignature(token, `${PUBLIC_URL}/twilio-json?${query}`, {});
    record({ source: "twilio-json", sdk, by, file, query, headers: { "x-twilio-signature": signature } });
  }
}

stripe();
svixAndStandardWebhooks();
hubspot();
await shopify();
await github();
highlevel();
await retell();
await square();
twilio();
