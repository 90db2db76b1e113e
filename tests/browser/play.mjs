// Plays a stream in the player page and writes down what a viewer saw.
//
//   node play.mjs <player page URL> <seconds> <out.json> [screenshot.png]
//
// Every frame shown is read back through the clock in the picture (counter.mjs). The file holds facts, no verdict:
// whoever started this decides what is good. Exit: 0 the report is written; 1 no picture came in START_LIMIT_MS (the
// report says what was on screen); 64 wrong arguments.

import { writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";
import { MODULUS, ageMs, readCounter } from "./counter.mjs";

const START_LIMIT_MS = 20_000;

const [url, seconds, out, screenshot] = process.argv.slice(2);
if (!url || !(Number(seconds) > 0) || !out) {
  console.error("usage: node play.mjs <player page URL> <seconds> <out.json> [screenshot.png]");
  process.exit(64);
}

const { browser, page } = await openPage();
const consoleErrors = [];
page.on("console", (message) => message.type() === "error" && consoleErrors.push(message.text()));
page.on("pageerror", (error) => consoleErrors.push(String(error)));

await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
const openedAt = Date.now();
await page.goto(url);
const firstFrameMs = await page
  .waitForFunction(() => window.vitrine?.video.getVideoPlaybackQuality().totalVideoFrames > 0, null, { timeout: START_LIMIT_MS, polling: 50 })
  .then(() => Date.now() - openedAt, () => null);

const shown = firstFrameMs === null ? [] : await page.evaluate(recordFrames, Number(seconds) * 1000);
if (screenshot) await page.screenshot({ path: screenshot });

const report = {
  url,
  firstFrameMs,
  ...summarize(shown),
  stats: await page.evaluate(() => window.vitrine?.stats() ?? null),
  message: await page.evaluate(() => document.getElementById("title")?.textContent ?? ""),
  errors: await page.evaluate(() => window.vitrine?.errors ?? []),
  consoleErrors,
};
await writeFile(out, JSON.stringify(report, null, 2) + "\n");
await browser.close();
process.exit(firstFrameMs === null ? 1 : 0);

/** In the page: one entry per frame the compositor got, for `forMs` milliseconds. */
function recordFrames(forMs) {
  const { video } = window.vitrine;
  const shown = [];
  return new Promise((resolve) => {
    const end = performance.now() + forMs;
    setTimeout(() => resolve(shown), forMs + 500); // also when no frame comes any more
    const onFrame = (_, { mediaTime }) => {
      shown.push({ at: Date.now(), mediaTime, clock: globalThis.readCounter(video) });
      if (performance.now() < end) video.requestVideoFrameCallback(onFrame);
      else resolve(shown);
    };
    video.requestVideoFrameCallback(onFrame);
  });
}

/** Counts of what went by; `latencyMs` is glass to glass when the test card ran on this machine's clock. */
function summarize(shown) {
  const readable = shown.filter(({ clock }) => clock);
  let [backward, repeated, skipped] = [0, 0, 0];
  for (let i = 1; i < readable.length; i++) {
    const step = (readable[i].clock.frame - readable[i - 1].clock.frame + MODULUS) % MODULUS;
    if (step === 0) repeated += 1;
    else if (step > MODULUS / 2) backward += 1;
    else skipped += step - 1;
  }
  const ages = readable.map(({ at, clock }) => ageMs(clock.wallMs, at)).sort((a, b) => a - b);
  const quantile = (q) => ages[Math.min(ages.length - 1, Math.floor(q * ages.length))] ?? null;
  const longestFreezeMs = shown.slice(1).reduce((most, frame, i) => Math.max(most, frame.at - shown[i].at), 0);
  return {
    frames: { shown: shown.length, unreadable: shown.length - readable.length, backward, repeated, skipped,
      first: readable[0]?.clock.frame ?? null, last: readable.at(-1)?.clock.frame ?? null },
    latencyMs: { p50: quantile(0.5), p95: quantile(0.95), max: ages.at(-1) ?? null, last: readable.length ? ageMs(readable.at(-1).clock.wallMs, readable.at(-1).at) : null },
    longestFreezeMs,
    playedS: shown.length ? shown.at(-1).mediaTime - shown[0].mediaTime : 0,
  };
}
