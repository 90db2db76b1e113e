// Two viewers of one stream whose tokens are about to expire: one is given another token while it plays, one is not.
//
//   node renew.mjs <player page URL> <fresh token> <out.json>
//
// It ends some seconds after the picture of the other one has. The file holds facts, no verdict. Exit: 0 the report is written; 1 no picture came; 64 wrong arguments.

import { writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";

/** Playing on, after the other viewer has been refused. */
const AFTER_MS = 5_000;
const REFUSED_LIMIT_MS = 90_000;

const [url, fresh, out] = process.argv.slice(2);
if (!out) {
  console.error("usage: node renew.mjs <player page URL> <fresh token> <out.json>");
  process.exit(64);
}

const hasPicture = () => window.vitrine?.video.getVideoPlaybackQuality().totalVideoFrames > 30;
const isRefused = () => document.body.dataset.state === "failed";

async function watch() {
  const { browser, page } = await openPage({ width: 640, height: 480 });
  const renewed = { requests: 0 };
  page.on("request", (request) => { if (request.url().includes(`/~${fresh}/`)) renewed.requests += 1; });
  await page.goto(url);
  const played = await page.waitForFunction(hasPicture, null, { timeout: 20_000, polling: 50 }).then(() => true, () => false);
  return { browser, page, renewed, played };
}

async function told({ page, renewed, played }) {
  return { played, renewed: renewed.requests, ...(await page.evaluate(() => ({
    stats: window.vitrine.stats(),
    errors: window.vitrine.errors,
    title: document.getElementById("title").textContent,
  }))) };
}

const viewers = await Promise.all([watch(), watch()]);
const [first, second] = viewers;
const before = await told(first);
await first.page.evaluate((token) => window.vitrine.renew(token), fresh);
await second.page.waitForFunction(isRefused, null, { timeout: REFUSED_LIMIT_MS, polling: 100 }).catch(() => {});
await new Promise((resolve) => setTimeout(resolve, AFTER_MS));
const report = { before, renewed: await told(first), left: await told(second) };
await writeFile(out, JSON.stringify(report, null, 2) + "\n");
await Promise.all(viewers.map(({ browser }) => browser.close()));
process.exit(first.played && second.played ? 0 : 1);
