// One viewer of the events proof (benches/proof/events/player.rs, which starts the daemon, the broadcast, and posts):
//
//   node events.mjs <root URL> <stream> <seconds behind the live edge> <seconds between two levels>
//
// Says "playing" once it does and has settled. Then a line is read, "<from> <to>": the numbers of the events posted meanwhile
// (`evt_<number>`, with `data.wall_ms`, when it was posted). When all of them have fired, or nothing more can come, one JSON
// object is written. Times are milliseconds:
//   cue     from an event's picture, by its number, to the picture where the cue stands
//   fired   from the same to the picture on screen when it fired
//   posted  from the moment of the post to the moment at which the picture was made where the cue stands
// each as p50 and p95 of what it is away, whichever way. `delivered` counts the copies that hls.js gave.

import { createInterface } from "node:readline";
import { openPage } from "../browser/chromium.mjs";
import { MODULUS, readCounter } from "../browser/counter.mjs";

const SETTLE_MS = 5_000;
/** For what is still to be shown when the last was posted, beyond how far behind the player is. */
const REST_MS = 15_000;
const FRAME_MS = 1000 / 30;

const [root, stream, behind, every] = process.argv.slice(2);
if (!root || !stream || !(Number(behind) >= 0) || !(Number(every) > 0)) {
  console.error("usage: node events.mjs <root URL> <stream> <seconds behind> <seconds between two levels>");
  process.exit(64);
}

const { browser, page } = await openPage();
try {
  page.on("pageerror", (error) => console.error(String(error)));
  await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
  await page.goto(`${root}/bare.html`);
  await page.evaluate(play, { url: `${root}/live/${stream}/index.m3u8`, behind: Number(behind), everyMs: every * 1000 });
  await page.waitForFunction(() => globalThis.seen.frames.length > 30, null, { timeout: 30_000 });
  // As far behind as it is to be.
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  console.log("playing");
  const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
  const [from, to] = value.split(" ").map(Number);
  const wanted = Array.from({ length: to - from }, (_, n) => `evt_${from + n}`);
  const all = (ids) => ids.every((id) => globalThis.seen.events[id]?.fired);
  await page.waitForFunction(all, wanted, { timeout: REST_MS + behind * 1000, polling: 200 }).catch(() => {});
  // What fires twice has time to.
  await new Promise((resolve) => setTimeout(resolve, 2 * every * 1000));
  console.log(JSON.stringify(judge(await page.evaluate(() => globalThis.seen), wanted)));
} finally {
  await browser.close();
}

/** In the page: hls.js as it comes but for where it plays, the library beside it, and notes of all they do. */
async function play({ url, behind, everyMs }) {
  const { VitrineEvents } = await import("./vitrine-events.js");
  const video = document.querySelector("video");
  const hls = new globalThis.Hls({ lowLatencyMode: true, ...(behind ? { liveSyncDuration: behind } : { maxLiveSyncPlaybackRate: 1.5 }) });
  const seen = (globalThis.seen = { frames: [], events: {}, delivered: 0, switches: 0, stalls: 0, fatal: null });
  const of = (id) => (seen.events[id] ??= { fired: 0 });
  hls.on(globalThis.Hls.Events.LEVEL_SWITCHED, () => (seen.switches += 1));
  hls.on(globalThis.Hls.Events.ERROR, (_, { fatal, details }) => fatal && (seen.fatal = details));
  video.addEventListener("waiting", () => seen.frames.length && (seen.stalls += 1));
  const onCue = ({ target: cue }) => note(cue);
  const note = (cue) => {
    if (cue.value?.key !== "TXXX") return;
    const { id, t, data } = JSON.parse(cue.value.data);
    // Where the cue stands; the same again after each change of the level.
    Object.assign(of(id), { cue: cue.startTime, t, wallMs: data?.wall_ms });
  };
  hls.on(globalThis.Hls.Events.FRAG_PARSING_METADATA, (_, { samples }) => {
    seen.delivered += samples.length;
    // hls.js makes cues of them when it hears of them itself, before or after this.
    setTimeout(() => {
      for (const track of video.textTracks) {
        if (track.kind !== "metadata") continue;
        const { cues } = track;
        for (let at = cues ? cues.length - 1 : -1, left = 200; at >= 0 && left > 0; at -= 1, left -= 1) note(cues[at]);
      }
    });
  });
  const events = new VitrineEvents({
    onEvent({ id }, lateMs) {
      const event = of(id);
      event.fired += 1;
      event.lateMs = lateMs;
      event.shown = globalThis.readCounter(video)?.frame;
    },
  });
  hls.loadSource(url);
  hls.attachMedia(video);
  events.attach(hls);
  const onFrame = (_, { mediaTime }) => {
    video.requestVideoFrameCallback(onFrame);
    const clock = globalThis.readCounter(video);
    if (clock) seen.frames.push([mediaTime, clock.frame, clock.wallMs]);
  };
  video.requestVideoFrameCallback(onFrame);
  let turns = 0;
  setInterval(() => {
    if (hls.levels.length > 1) hls.nextLevel = (turns += 1) % hls.levels.length;
  }, everyMs);
}

function judge({ frames, events, delivered, switches, stalls, fatal }, wanted) {
  frames.sort((a, b) => a[0] - b[0]);
  const away = { cue: [], fired: [], posted: [] };
  const missing = [];
  for (const id of wanted) {
    const { cue, t, wallMs, shown } = events[id] ?? {};
    if (cue === undefined) {
      missing.push(id);
      continue;
    }
    if (shown !== undefined) away.fired.push(shown * FRAME_MS - t);
    const frame = frames[before(frames, cue + 0.001)];
    // Pictures that nobody saw say nothing: around a change of the level there are some.
    if (!frame || cue - frame[0] > 1.5 * FRAME_MS / 1000) continue;
    away.cue.push(frame[1] * FRAME_MS - t);
    const ms = (frame[2] - wallMs) % MODULUS;
    away.posted.push(ms < -MODULUS / 2 ? ms + MODULUS : ms);
  }
  const figures = Object.entries(away).map(([name, values]) => [name, quantiles(values)]);
  return {
    lost: wanted.filter((id) => !events[id]?.fired),
    twice: wanted.filter((id) => events[id]?.fired > 1),
    missing, delivered, switches, stalls, fatal, ...Object.fromEntries(figures),
  };
}

/** Index of the last frame at or before `time`, -1 if there is none. */
function before(frames, time) {
  let [low, high] = [0, frames.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (frames[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function quantiles(values) {
  const sorted = values.map(Math.abs).sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? null;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { p50: at(0.5), p95: at(0.95), max: sorted.at(-1) ?? null, mean, count: values.length };
}
