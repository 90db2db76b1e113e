// A commerce backend for Vitrine: decides who may publish, and hears what becomes of it (docs/hooks.md).
//
//   HOOK_SECRET=whsec_... STREAM_KEY=... STREAM_ID=shop42 PORT=9000 node hook_backend.mjs
//
// Both `hooks.admission_url` and the url of a [[hooks.endpoints]] point at http://127.0.0.1:9000/hooks, with that secret.
// Node's own modules only. What is not signed by who knows the secret is answered 401, and for a publisher that is a no.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const SECRET = Buffer.from(process.env.HOOK_SECRET.replace(/^whsec_/, ""), "base64");
const { STREAM_KEY = "demo-key", STREAM_ID = "demo", PORT = "9000" } = process.env;
const TOLERANCE_S = 5 * 60; // older, or further ahead: it may be a replay
const BODY_MAX = 64 * 1024;
const IDS_MAX = 10_000;

const seen = new Set(); // in a real shop: a unique column, written with what the event changes

const isEqual = (a, b) => a.length === b.length && timingSafeEqual(a, b);

/** Standard Webhooks: HMAC-SHA256 over id.timestamp.body; several signatures while a secret rotates. */
function isGenuine(headers, body) {
  const { "webhook-id": id = "", "webhook-timestamp": timestamp = "", "webhook-signature": signatures = "" } = headers;
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_S) return false;
  const digest = createHmac("sha256", SECRET).update(`${id}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${digest}`);
  return signatures.split(" ").filter((signature) => isEqual(Buffer.from(signature), expected)).length > 0;
}

function admit({ stream_key: key = "" }) {
  if (isEqual(Buffer.from(key), Buffer.from(STREAM_KEY))) return { allow: true, stream_id: STREAM_ID };
  return { allow: false, reason: "unknown stream key" };
}

/** Events come at least once: the same id is the same event. */
function isNew(id) {
  if (seen.has(id)) return false;
  seen.add(id);
  if (seen.size > IDS_MAX) seen.delete(seen.values().next().value);
  return true;
}

function handle(request, body) {
  if (request.method !== "POST" || request.url !== "/hooks" || !isGenuine(request.headers, body)) return [401];
  const { type, data } = JSON.parse(body);
  if (type === "publish.requested") return [200, JSON.stringify(admit(data))];
  if (isNew(request.headers["webhook-id"])) console.log(type, JSON.stringify(data));
  return [204];
}

const server = createServer((request, response) => {
  const chunks = [];
  let size = 0;
  request.on("data", (chunk) => {
    size += chunk.length;
    if (size <= BODY_MAX) chunks.push(chunk);
    else request.destroy();
  });
  request.on("end", () => {
    const [status, text] = handle(request, Buffer.concat(chunks));
    response.writeHead(status).end(text);
  });
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening 127.0.0.1:${server.address().port}`));
