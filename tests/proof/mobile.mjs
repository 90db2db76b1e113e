// One viewer of the mobile proof (benches/proof/mobile.rs, which starts the daemon, the broadcast and the link):
//
//   node mobile.mjs <root URL> page|default|phones <seconds to settle> <seconds>
//
// page is the example player; default and phones are hls.js alone, as it comes and with the README's setting for phones.
// Writes one JSON object: latency glass to glass by the clock in the picture (counter.mjs), stalls from the first picture
// on, what the player aimed at. A request that did not go over HTTP/2 is an error. With TRACE set, a line for each second
// goes to standard error.

import { openPage } from "../browser/chromium.mjs";
import { ageMs, readCounter } from "../browser/counter.mjs";
import { PHONES } from "../../examples/phones.mjs";

const [root, player, settle, seconds] = process.argv.slice(2);
const CONFIGS = { page: null, default: { lowLatencyMode: true }, phones: PHONES };
if (!root || !(player in CONFIGS) || !(Number(seconds) > 0)) {
  console.error("usage: node mobile.mjs <root URL> page|default|phones <seconds to settle> <seconds>");
  process.exit(64);
}

const { browser, page } = await openPage();
try {
  await page.addInitScript(`globalThis.readCounter = ${readCounter}; performance.setResourceTimingBufferSize(100000);`);
  await page.goto(`${root}/${player === "page" ? "?stream=card&muted" : "bare.html"}`);
  const seen = await page.evaluate(play, { url: `${root}/live/card/index.m3u8`, config: CONFIGS[player], settleMs: settle * 1000, forMs: seconds * 1000 });
  if (!seen.pictures.length) throw new Error(`no picture; ${seen.fatal ?? "no error either"}`);
  if (String(seen.protocols) !== "h2") throw new Error(`not HTTP/2 alone: ${seen.protocols}`);
  const ages = seen.pictures.map(({ at, wallMs }) => ageMs(wallMs, at)).sort((a, b) => a - b);
  const quantile = (q) => ages[Math.min(ages.length - 1, Math.floor(q * ages.length))];
  const { stalls, stalledMs, goalMs, fatal, trace } = seen;
  if (process.env.TRACE) console.error(["s\tlatency\tgoal\tbuffer\trate\tlatest part", ...trace].join("\n"));
  console.log(JSON.stringify({ p50: quantile(0.5), p95: quantile(0.95), max: ages.at(-1), stalls, stalledMs, goalMs, fatal }));
} finally {
  await browser.close();
}

/** In the page: its own player, or hls.js with `config`. */
function play({ url, config, settleMs, forMs }) {
  const video = document.querySelector("video");
  const hls = config ? new globalThis.Hls(config) : globalThis.vitrine.hls;
  const seen = { pictures: [], stalls: 0, stalledMs: 0, goalMs: 0, fatal: null, protocols: [], trace: [] };
  let [playing, measuring, stalledAt, latest] = [false, false, 0, 0];
  // How far behind a player must be to have had the latest part of the last second in time.
  hls.on(globalThis.Hls.Events.FRAG_BUFFERED, (_, { part }) => {
    const details = hls.latestLevelDetails;
    if (part && details) latest = Math.max(latest, details.edge + details.age - part.start);
  });
  hls.on(globalThis.Hls.Events.ERROR, (_, { fatal, details }) => fatal && (seen.fatal = details));
  video.addEventListener("playing", () => {
    if (stalledAt) seen.stalledMs += Math.round(performance.now() - stalledAt);
    [playing, stalledAt] = [true, 0];
  });
  video.addEventListener("waiting", () => {
    if (!playing || video.seeking) return;
    seen.stalls += 1;
    stalledAt = performance.now();
    note("stall");
  });
  if (config) {
    hls.loadSource(url);
    hls.attachMedia(video);
  }
  const began = performance.now();
  const note = (what) => {
    const ahead = video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0;
    const row = [(performance.now() - began) / 1000, hls.latency, hls.targetLatency, ahead, video.playbackRate, latest];
    latest = 0;
    seen.trace.push(`${row.map((value) => Number(value).toFixed(2)).join("\t")}\t${what}`);
  };
  const notes = setInterval(() => note(""), 1000);
  const onFrame = () => {
    const clock = measuring ? globalThis.readCounter(video) : null;
    if (clock) seen.pictures.push({ at: Date.now(), wallMs: clock.wallMs });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  return new Promise((resolve) => {
    setTimeout(() => (measuring = true), settleMs);
    setTimeout(() => {
      clearInterval(notes);
      const requests = performance.getEntriesByType("resource").filter(({ name }) => name.includes("/live/"));
      seen.protocols = [...new Set(requests.map(({ nextHopProtocol }) => nextHopProtocol).filter(Boolean))];
      seen.goalMs = Math.round((hls.targetLatency ?? 0) * 1000);
      resolve(seen);
    }, settleMs + forMs);
  });
}
