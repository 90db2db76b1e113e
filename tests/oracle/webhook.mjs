// The independent `standardwebhooks` package signs and verifies: {secret, sign: [{id, timestamp, body}], verify: [{headers,
// body}]} on standard input, {signatures: [...], verified: [null or why not]} on standard output.

import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secret, sign = [], verify = [] } = JSON.parse(readFileSync(0, "utf8"));
const webhook = new Webhook(secret);
const signatures = sign.map(({ id, timestamp, body }) => webhook.sign(id, new Date(timestamp * 1000), body));
const verified = verify.map(({ headers, body }) => {
  try {
    webhook.verify(body, headers);
    return null;
  } catch (error) {
    return String(error);
  }
});
console.log(JSON.stringify({ signatures, verified }));
