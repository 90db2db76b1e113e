// Several players side by side in one page, while whoever started this breaks their broadcasts.
//
//   node outage.mjs <server> <out.json> <screenshot.png> <name>=<path>...
//
// A path is a page of the server that offers `window.vitrine`: the example player, or /bare?src=<playlist>, which is hls.js
// with nothing around it, made up here. Says "playing" on standard output when every player shows pictures of the test
// card, then records what each shows until standard input ends. The file holds facts, no verdict. Exit: 0 the report is
// written; 1 a player did not begin in START_LIMIT_MS; 64 wrong arguments.

import { writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";
import { readCounter } from "./counter.mjs";

const START_LIMIT_MS = 20_000;
const SETTLE_MS = 2_000;
/** Pictures nearer together than this are not read: reading costs. */
const READ_EVERY_MS = 60;

const BARE = `<!doctype html><title>bare</title><style>body { margin: 0 } video { width: 100% }</style>
<video id="video" muted autoplay playsinline></video><script src="/hls.min.js"></script><script>
  const query = new URLSearchParams(location.search);
  const log = [];
  const note = (...words) => log.push([Date.now(), words.join(" ")]);
  if (!query.has("defaults")) {
    Object.assign(Hls.DefaultConfig.fragLoadPolicy.default.errorRetry, { retryDelayMs: 200, maxNumRetry: 8 });
  }
  const hls = new Hls({ lowLatencyMode: true, debug: { log: note, info: note, warn: note, error: note, debug() {}, trace() {} } });
  const video = document.getElementById("video");
  window.vitrine = { hls, video, log, errors: [], stats: () => ({}) };
  hls.on(Hls.Events.ERROR, (_, { type, details, fatal, response, error }) =>
    vitrine.errors.push({ at: Date.now(), type, details, fatal, status: response?.code, message: error?.message }));
  hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
  hls.loadSource(query.get("src"));
  hls.attachMedia(video);
</script>`;

const [server, out, screenshot, ...players] = process.argv.slice(2);
if (!screenshot || !players.length || !players.every((player) => player.includes("="))) {
  console.error("usage: node outage.mjs <server> <out.json> <screenshot.png> <name>=<path>...");
  process.exit(64);
}
const split = (player) => [player.slice(0, player.indexOf("=")), player.slice(player.indexOf("=") + 1)];
const frames = players.map((player) => {
  const [name] = split(player);
  return `<figure><figcaption>${name}</figcaption><iframe name="${name}" allow="autoplay"></iframe></figure>`;
});
const GRID = `<!doctype html><title>outages</title><style>
  body { margin: 4px; display: grid; grid-template-columns: repeat(5, 1fr); gap: 4px; font: 10px sans-serif }
  figure { margin: 0 } iframe { width: 128px; height: 72px; border: 0 }</style>${frames.join("")}`;

const { browser, page } = await openPage({ width: 680, height: 300 }); // small: what is drawn costs
const html = (body) => (route) => route.fulfill({ contentType: "text/html", body });
await page.route("**/outages", html(GRID));
await page.route("**/bare?*", html(BARE));
await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
await page.goto(new URL("/outages", server).href);
await page.evaluate(record, READ_EVERY_MS);
let begun = true;
for (const player of players) {
  const [name, path] = split(player);
  await page.evaluate(([name, path]) => { document.querySelector(`[name=${name}]`).src = path; }, [name, path]);
  begun &&= await page
    .waitForFunction((name) => records.find((record) => record.name === name).shown.some(([, , , frame]) => frame !== null), name, { timeout: START_LIMIT_MS, polling: 100 })
    .then(() => true, () => false);
}
if (begun) {
  // Whoever stumbled at the start, on a busy machine, would show everything later than it came.
  await page.evaluate(() => {
    for (const { window: { vitrine } } of records) {
      if (vitrine.hls.latency > vitrine.hls.targetLatency + 0.5) vitrine.video.currentTime = vitrine.hls.liveSyncPosition;
    }
  });
  await page.waitForTimeout(SETTLE_MS);
  console.log("playing");
  await new Promise((resolve) => process.stdin.on("end", resolve).resume());
}
const records = await page.evaluate(() => records.map(({ window, ...record }) => ({ ...record, log: window.vitrine?.log, errors: window.vitrine?.errors ?? null, stats: window.vitrine?.stats() ?? null })));
await page.screenshot({ path: screenshot });
await writeFile(out, JSON.stringify(records) + "\n");
await browser.close();
process.exit(begun ? 0 : 1);

/** In the page: one entry per frame each compositor got, and four times a second what else can be seen of a player. */
function record(READ_EVERY_MS) {
  globalThis.records = [...document.querySelectorAll("iframe")].map(({ name, contentWindow }) => {
    const record = { name, window: contentWindow, shown: [], ticks: [], events: [] };
    const attach = setInterval(() => {
      const video = contentWindow.vitrine?.video; // undefined until the page is there
      if (!video) return;
      clearInterval(attach);
      // [wall clock, media time, current time, number of the frame or null when it cannot be read]
      const onFrame = (_, { mediaTime }) => {
        video.requestVideoFrameCallback(onFrame);
        const now = Date.now();
        if (now - record.shown.at(-1)?.[0] < READ_EVERY_MS) return;
        record.shown.push([now, mediaTime, video.currentTime, contentWindow.readCounter(video)?.frame ?? null]);
      };
      video.requestVideoFrameCallback(onFrame);
      for (const type of ["waiting", "playing", "seeking", "ended", "error", "emptied"]) {
        video.addEventListener(type, () => record.events.push([Date.now(), type, video.currentTime]));
      }
      // [wall clock, current time, bytes of sound decoded, buffered ranges]
      setInterval(() => {
        const buffered = [...Array(video.buffered.length).keys()].map((i) => [video.buffered.start(i), video.buffered.end(i)]);
        record.ticks.push([Date.now(), video.currentTime, video.webkitAudioDecodedByteCount, buffered]);
      }, 250);
    }, 50);
    return record;
  });
}
