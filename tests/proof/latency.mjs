// Latency, measured and printed as rows for the README: `make proof-latency`.
//
//   node tests/proof/latency.mjs [edge|glass|ladder] [seconds per measurement]
//
// edge:  from the publisher's write of the last frame of a part until the part is downloaded (benches/proof/edge_delay.rs).
// glass: from the clock that conf/testcard.sh burns into a picture before it is encoded until hls.js in Chromium shows
//        that picture, read back from a canvas. Encoder: x264 veryfast, zerolatency, 720p30, GOP 1 s. hls.js is run as it
//        is, and with `maxLiveSyncPlaybackRate` 1.5: without it hls.js keeps whatever latency it happened to start with,
//        and even so it stops catching up at one second of forward buffer (its latency-controller). The last row is the
//        page of examples/player: the same hls.js, and a catch-up of its own. hls.js's own `latency` stands beside each
//        as a control, as do the load average and the stalls. The picture is passed through, and nothing else made.
// ladder: the same with all three renditions encoded from it. `make proof-ladder`; not among what is measured without a name.
//
// Needs `cargo build --release` (or VITRINE: the binary), `make assets`, Chromium, ffmpeg. Nothing else should run.

import { spawn, spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openPage } from "../browser/chromium.mjs";
import { ageMs, readCounter } from "../browser/counter.mjs";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const SETTLE_S = 20; // catching up at 1.5 times from three target durations behind takes less
const GLASS = {
  glass: { picture: "passed through", transcode: "transcode.enabled = false", barMs: 1000 },
  ladder: { picture: "all three renditions encoded", transcode: "transcode.enabled = true\nladder.default.high.pass = false", barMs: 1300 },
};
const SETTINGS = [
  { player: "hls.js alone", page: "bare.html", rate: 1 },
  { player: "hls.js alone", page: "bare.html", rate: 1.5 },
  { player: "the player page", page: "?stream=card&muted", rate: 1.1 },
];

const [what = "all", seconds = "60"] = process.argv.slice(2);
if (!["all", "edge", "glass", "ladder"].includes(what) || !(Number(seconds) > 0)) {
  console.error("usage: node latency.mjs [edge|glass|ladder] [seconds per measurement]");
  process.exit(64);
}

console.log(`date ${new Date().toISOString()}, ${os.cpus().length} cores (${os.cpus()[0].model}), ${load()}`);
console.log(`command: node tests/proof/latency.mjs ${process.argv.slice(2).join(" ")}`);
if (what === "all" || what === "edge") edge();
if (what !== "edge") await glass(GLASS[what] ?? GLASS.glass);

function edge() {
  const run = spawnSync("cargo", ["bench", "--quiet", "--bench", "proof", "--", "edge_delay"], { cwd: ROOT, stdio: "inherit" });
  if (run.status !== 0) process.exit(1);
}

async function glass({ picture, transcode, barMs }) {
  const folder = await mkdtemp(path.join(os.tmpdir(), "vitrine-latency-"));
  const children = [];
  try {
    await cp(path.join(ROOT, "examples/player"), folder, { recursive: true });
    await writeFile(path.join(folder, "bare.html"), '<!doctype html><video muted autoplay playsinline></video><script src="hls.min.js"></script>');
    const doors = await startDaemon(folder, children, transcode);
    const card = spawn(path.join(ROOT, "conf/testcard.sh"), ["-f", "flv", `rtmp://${doors.rtmp}/live/latency-key`], { stdio: ["ignore", "ignore", "inherit"] });
    children.push(card);
    await live(`http://${doors.http}/live/card/index.m3u8`);
    const version = JSON.parse(await readFile(path.join(ROOT, "examples/node_modules/hls.js/package.json"), "utf8").catch(() => "{}")).version ?? "?";
    console.log(`\nglass to glass, ${picture}, hls.js ${version}, 720p30, GOP 1 s, no B-frames, ${SETTLE_S} s to settle, then ${seconds} s\n`);
    console.log("| player | catch-up rate, at most | lines seen | p50 ms | p95 ms | max ms | pictures read | stalls | hls.js says, ms | load | bar |");
    console.log("|-|-|-|-|-|-|-|-|-|-|-|");
    for (const setting of SETTINGS) await watch(`http://${doors.http}`, setting, barMs);
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await rm(folder, { recursive: true, force: true, maxRetries: 20 }); // the daemon may still be saving
  }
}

/** Starts the daemon on ports the system chose, `transcode` above all sections of its configuration; resolves to
 *  `{ rtmp, http, control }`, host and port each. */
async function startDaemon(folder, children, transcode) {
  const config = path.join(folder, "vitrine.toml");
  const door = '\nlisten = "127.0.0.1:0"\n';
  await writeFile(config, `data_dir = "${folder}/data"\n${transcode}\n[rtmp]${door}[control]${door}[http]${door}static_dir = "${folder}"\n` +
    '[[publish.keys]]\nkey = "latency-key"\nstream = "card"\n');
  const binary = process.env.VITRINE ?? path.join(ROOT, "target/release/vitrine");
  const daemon = spawn(binary, ["--config", config], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RUST_LOG: "warn" } });
  children.push(daemon);
  const doors = {};
  for await (const line of createInterface({ input: daemon.stdout })) {
    const [, name, address] = line.match(/^listening (\S+) (\S+)$/) ?? [];
    if (name) doors[name] = address;
    if (doors.rtmp && doors.http && doors.control) {
      daemon.stdout.resume();
      return doors;
    }
  }
  throw new Error("the daemon did not open its doors");
}

/** Waits for a stream: the daemon holds the request once the publisher is accepted. */
async function live(url) {
  for (let tries = 0; tries < 200; tries++) {
    if ((await fetch(url)).ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${url} never came`);
}

/** Plays with one setting in a fresh browser and prints a row. */
async function watch(root, { player, page: file, rate }, barMs) {
  const { browser, page } = await openPage();
  try {
    await page.addInitScript(`globalThis.readCounter = ${readCounter}`);
    await page.goto(`${root}/${file}`);
    const seen = await page.evaluate(play, { url: `${root}/live/card/index.m3u8`, rate, settleMs: SETTLE_S * 1000, forMs: Number(seconds) * 1000 });
    const ages = seen.pictures.map(({ at, wallMs }) => ageMs(wallMs, at)).sort((a, b) => a - b);
    const quantile = (q) => ages[Math.min(ages.length - 1, Math.floor(q * ages.length))] ?? NaN;
    const verdict = quantile(0.5) <= barMs && seen.stalls === 0 ? "met" : "missed";
    const row = [player, rate, seen.lines, quantile(0.5), quantile(0.95), ages.at(-1) ?? NaN, ages.length, seen.stalls, Math.round(seen.told * 1000), load(), verdict];
    console.log(`| ${row.join(" | ")} |`);
    if (seen.fatal) console.log(`fatal: ${seen.fatal}`);
  } finally {
    await browser.close();
  }
}

/** In the page: its own player, or hls.js with its defaults but for the catch-up rate; every picture after settling. */
function play({ url, rate, settleMs, forMs }) {
  const video = document.querySelector("video");
  const hls = globalThis.vitrine?.hls ?? new globalThis.Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: rate });
  const seen = { pictures: [], stalls: 0, told: 0, lines: 0, fatal: null };
  let measuring = false;
  hls.on(globalThis.Hls.Events.ERROR, (_, { fatal, details }) => fatal && (seen.fatal = details));
  video.addEventListener("waiting", () => measuring && (seen.stalls += 1));
  if (!globalThis.vitrine) {
    hls.loadSource(url);
    hls.attachMedia(video);
  }
  const onFrame = () => {
    const clock = measuring ? globalThis.readCounter(video) : null;
    if (clock) seen.pictures.push({ at: Date.now(), wallMs: clock.wallMs });
    video.requestVideoFrameCallback(onFrame);
  };
  video.requestVideoFrameCallback(onFrame);
  return new Promise((resolve) => {
    setTimeout(() => (measuring = true), settleMs);
    setTimeout(() => {
      seen.told = hls.latency;
      seen.lines = video.videoHeight;
      resolve(seen);
    }, settleMs + forMs);
  });
}

function load() {
  return `load average ${os.loadavg()[0].toFixed(2)}`;
}
