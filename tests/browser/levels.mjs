// Switches the player page through all levels of a ladder, up and down, and writes down what a viewer saw.
//
//   node levels.mjs <player page URL> <out.json> [screenshot.png]
//
// The test card must be playing (counter.mjs reads its clock). First hls.js changes at the next segment (`nextLevel`), as
// it does by itself when the network changes; then at once (`currentLevel`), as a viewer's choice of quality does, which
// empties the buffer. The file holds facts, no verdict. Exit: 0 the report is written; 1 no picture came in
// START_LIMIT_MS; 64 wrong arguments.

import { writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";
import { readCounter } from "./counter.mjs";

const START_LIMIT_MS = 20_000;
/** Levels are named by their rank: 0 is the least. Every way between two of three is gone. */
const WAYS = { nextLevel: [0, 1, 2, 0, 2, 1, 0], currentLevel: [2, 1, 0] };
/** For a switch to show on screen. */
const SWITCH_LIMIT_MS = 15_000;
/** For how long each level is watched. */
const STAY_MS = 1_500;

const [url, out, screenshot] = process.argv.slice(2);
if (!url || !out) {
  console.error("usage: node levels.mjs <player page URL> <out.json> [screenshot.png]");
  process.exit(64);
}

const { browser, page } = await openPage();
await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
await page.goto(url);
const started = await page
  .waitForFunction(() => window.vitrine?.video.getVideoPlaybackQuality().totalVideoFrames > 0, null, { timeout: START_LIMIT_MS, polling: 50 })
  .then(() => true, () => false);
const report = started
  ? await page.evaluate(walk, { ways: WAYS, limitMs: SWITCH_LIMIT_MS, stayMs: STAY_MS })
  : { message: await page.evaluate(() => document.getElementById("title")?.textContent ?? "") };
report.errors = await page.evaluate(() => window.vitrine?.errors ?? []);
if (screenshot) await page.screenshot({ path: screenshot });
await writeFile(out, JSON.stringify(report) + "\n");
await browser.close();
process.exit(started ? 0 : 1);

/** In the page. */
async function walk({ ways, limitMs, stayMs }) {
  const { hls, video, stats } = window.vitrine;
  const report = { levels: hls.levels.map(({ width, height, bitrate }) => ({ width, height, bitrate })), switches: [], shown: [] };
  // [media time, number of the frame or null when it cannot be read, height of the picture]
  const onFrame = (_, { mediaTime, height }) => {
    video.requestVideoFrameCallback(onFrame);
    report.shown.push([mediaTime, globalThis.readCounter(video)?.frame ?? null, height]);
  };
  video.requestVideoFrameCallback(onFrame);
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const onScreen = async (height) => {
    const began = performance.now();
    while (report.shown.at(-1)?.[2] !== height) {
      if (performance.now() - began > limitMs) return null;
      await sleep(50);
    }
    return performance.now() - began;
  };
  for (const [how, levels] of Object.entries(ways)) {
    const before = stats().stalls;
    for (const level of levels) {
      hls[how] = level;
      const afterMs = await onScreen(hls.levels[level].height);
      await sleep(stayMs);
      report.switches.push({ how, level, afterMs, stays: video.videoHeight === hls.levels[level].height });
    }
    report[how] = { stalls: stats().stalls - before };
  }
  return report;
}
