// Players side by side in one page, each with examples/player/vitrine-events.js, while whoever started this posts events.
//
//   node events.mjs <server> <stream> <out.json> <screenshot.png> <player>...
//
// Says "playing" on standard output when all show pictures of the test card; when standard input ends, all that was placed
// gets REST_MS to be shown, then the file is written: facts, no verdict. Exit: 0 the report is written; 1 a player did not
// begin in START_LIMIT_MS; 64 wrong arguments.
//
// The players:
// - page: the example player, hls.js in it. It changes the level every SWITCH_MS, and goes back ten seconds, as a viewer does.
// - cues: hls.js again, but only its cues in the metadata track are heard, as in a native player, whose cues look the same
//   (Chromium's own HLS makes none).
// - shaka: Shaka Player. - videojs: video.js. Both from npm, as they come but for what their page sets here. Shaka 5.2.12 must
//   not ask for delta updates: of their segments it does not know the EXT-X-MAP, and without one it looks for no boxes.

import { readFile, writeFile } from "node:fs/promises";
import { openPage } from "./chromium.mjs";
import { readCounter } from "./counter.mjs";

const START_LIMIT_MS = 40_000;
const SETTLE_MS = 3_000;
const SWITCH_MS = 3_000;
/** So long after "playing" the page goes back. */
const BACK_AFTER_MS = 9_000;
/** A picture that stands for longer tells nothing: changing levels at once, or a busy machine, freezes it for a while. */
const FROZEN_MS = 150;
/** How long what was placed may take to be shown; ten seconds longer where the viewer went back. */
const REST_MS = 6_000;

const [server, stream, out, screenshot, ...names] = process.argv.slice(2);
if (!names.length) {
  console.error("usage: node events.mjs <server> <stream> <out.json> <screenshot.png> <player>...");
  process.exit(64);
}

const html = (scripts, main) => `<!doctype html><style>body { margin: 0 } video { width: 100% }</style>
<video id="video" muted autoplay playsinline></video>${scripts.map((script) => `<script src="${script}"></script>`).join("")}<script type="module">
  import { VitrineEvents } from "/vitrine-events.js";
  const src = "/live/${stream}/index.m3u8";
  const video = document.getElementById("video");
  const events = new VitrineEvents({ onEvent: (...told) => window.onEvent?.(...told) });
  ${main}
  window.vitrine = { video, player };
</script>`;

const PAGES = {
  "/cues": html(["/hls.min.js"], `
    const player = undefined;
    const hls = new Hls({ lowLatencyMode: true, enableEmsgMetadataCues: true, enableID3MetadataCues: true });
    events.attach(video);
    hls.loadSource(src);
    hls.attachMedia(video);`),
  "/shaka": html(["/npm/shaka-player/dist/shaka-player.compiled.js"], `
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    player.configure("mediaSource.dispatchAllEmsgBoxes", true);
    player.addEventListener("error", ({ detail }) => console.error("shaka", detail.code, detail.message));
    await player.attach(video);
    events.attach(player);
    await player.load(src);`),
  "/videojs": html(["/npm/video.js/dist/video.js"], `
    const player = videojs(video, { liveui: true });
    events.attach(player);
    player.src({ src, type: "application/x-mpegURL" });
    player.play();`),
};
const PATHS = { page: `/?stream=${stream}&muted`, cues: "/cues", shaka: "/shaka", videojs: "/videojs" };
const PLAYERS = Object.fromEntries(names.map((name) => [name, PATHS[name]]));
const goesBack = names.includes("page");

const GRID = `<!doctype html><title>events</title><style>body { margin: 4px }
  iframe { width: 200px; height: 120px; border: 0 } [name=page] { width: 640px; height: 520px }</style>
  ${Object.keys(PLAYERS).map((name) => `<iframe name="${name}" allow="autoplay"></iframe>`).join("")}`;

const { browser, page } = await openPage(goesBack ? { width: 660, height: 540 } : { width: 660, height: 140 });
const consoleErrors = [];
page.on("console", (message) => message.type() === "error" && consoleErrors.push(message.text()));
page.on("pageerror", (error) => consoleErrors.push(String(error)));
await page.route("**/side-by-side", (route) => route.fulfill({ contentType: "text/html", body: GRID }));
for (const [path, body] of Object.entries(PAGES)) await page.route(`**${path}`, (route) => route.fulfill({ contentType: "text/html", body }));
await page.route("**/npm/**", async (route) => {
  const file = new URL(route.request().url()).pathname.replace("/npm/", "./node_modules/");
  await route.fulfill({ contentType: "text/javascript", body: await readFile(new URL(file, import.meta.url)) });
});
await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
await page.goto(new URL("/side-by-side", server).href);
await page.evaluate(record, { players: PLAYERS, switchMs: SWITCH_MS, frozenMs: FROZEN_MS });
const begun = await page
  .waitForFunction(() => records.every(({ frames }) => frames > 30), null, { timeout: START_LIMIT_MS, polling: 100 })
  .then(() => true, () => false);
if (begun) {
  await page.waitForTimeout(SETTLE_MS);
  console.log("playing");
  const ended = new Promise((resolve) => process.stdin.on("end", resolve).resume());
  if (goesBack) {
    await page.waitForTimeout(BACK_AFTER_MS);
    await page.evaluate(() => globalThis.goBack());
  }
  await ended;
  await page.waitForTimeout(REST_MS + (goesBack ? 10_000 : 0));
}
await page.screenshot({ path: screenshot });
const report = await page.evaluate(() => records.map(({ window, ...record }) => ({ ...record, errors: window.vitrine?.errors ?? [] })));
await writeFile(out, JSON.stringify({ players: report, consoleErrors }) + "\n");
await browser.close();
process.exit(begun ? 0 : 1);

/** In the page: what each player brought and showed. */
function record({ players, switchMs, frozenMs }) {
  globalThis.records = Object.entries(players).map(([name, path]) => {
    const iframe = document.querySelector(`[name=${name}]`);
    iframe.src = path;
    // fired: [id, media time of the event, how late, number of the frame on screen]; shown: [number of a frame, product]
    const record = { name, window: iframe.contentWindow, frames: 0, fired: [], boxes: [], ranges: [], shown: [], levels: [], wentBack: [], stalls: 0 };
    const waiting = setInterval(async () => {
      const { vitrine } = record.window;
      if (!vitrine || (name === "page" && !vitrine.hls)) return;
      clearInterval(waiting);
      const { video } = vitrine;
      let drawnAt = 0;
      const onFrame = (now) => {
        record.frames += 1;
        drawnAt = now;
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
      video.addEventListener("waiting", () => { record.stalls += record.frames > 0 && !video.seeking; });
      const frame = () => (record.window.performance.now() - drawnAt < frozenMs ? record.window.readCounter(video)?.frame ?? null : null);
      const onEvent = ({ id, t }, lateMs) => record.fired.push([id, t, Math.round(lateMs), frame()]);
      if (name === "page") drive(record, vitrine, frame, onEvent);
      else record.window.onEvent = onEvent;
      listen(record, vitrine);
    }, 20);
    return record;
  });

  /** The example player, as a viewer uses it. What it shows is read off the page. */
  async function drive(record, { hls, video }, frame, onEvent) {
    const { VitrineEvents } = await record.window.eval('import("/vitrine-events.js")');
    new VitrineEvents({ onEvent }).attach(hls);
    const $ = (id) => record.window.document.getElementById(id);
    setInterval(() => record.shown.push([frame(), $("product").hidden ? null : $("product-title").textContent]), 100);
    let turn = 0;
    setInterval(() => {
      const how = turn % 2 ? "currentLevel" : "nextLevel";
      hls[how] = turn++ % hls.levels.length;
      record.levels.push([how, hls.levels.length, video.videoHeight]);
    }, switchMs);
    globalThis.goBack = () => {
      const from = video.currentTime;
      $("back").click();
      record.wentBack.push(from - video.currentTime);
    };
  }

  /** Which copies of an event the player itself gave: boxes in front of parts, ranges in playlists. */
  function listen({ name, window, boxes, ranges }, { video, hls, player }) {
    const note = (list, id) => id && !list.includes(id) && list.push(id);
    const idOf = (text) => /"id":"(evt_\w+)"/.exec(text)?.[1];
    const text = new TextDecoder();
    if (name === "page") {
      hls.on("hlsFragParsingMetadata", (_, { samples }) => samples.forEach(({ data }) => note(boxes, idOf(text.decode(data)))));
      hls.on("hlsLevelUpdated", (_, { details }) => Object.keys(details.dateRanges).forEach((id) => note(ranges, id)));
    } else if (name === "shaka") {
      player.addEventListener("metadataadded", ({ metadataType, payload: { key, data } }) => {
        if (metadataType === "org.id3") note(boxes, idOf(data));
        if (key === "X-VITRINE") note(ranges, idOf(window.atob(data.replace(/-/g, "+").replace(/_/g, "/"))));
      });
    } else {
      setInterval(() => {
        for (const track of Array.from(player?.textTracks() ?? video.textTracks)) {
          for (const cue of Array.from((track.kind === "metadata" && track.cues) || [])) {
            if (cue.type === "com.apple.quicktime.HLS") note(ranges, cue.id);
            else note(boxes, idOf(cue.value?.data));
          }
        }
      }, 200);
    }
  }
}
