// What a viewer of the player page can read along: the captions that hls.js finds in the pictures of whole segments. In
// its low-latency mode hls.js 1.7.4 forgets at each part what a caption began with (timeline-controller, onFragLoading).
//
//   node captions.mjs <player page URL> <text that must come> [another]...
//
// Prints every track and what it said so far as JSON. Exit: 0 all texts came; 1 not in LIMIT_MS; 64 wrong arguments.

import { openPage } from "./chromium.mjs";

const LIMIT_MS = 30_000;

const [url, ...wanted] = process.argv.slice(2);
if (!url || wanted.length === 0) {
  console.error("usage: node captions.mjs <player page URL> <text that must come> [another]...");
  process.exit(64);
}

const { browser, page } = await openPage();
await page.goto(url);
const came = await page.waitForFunction(read, wanted, { timeout: LIMIT_MS, polling: 200 }).then(() => true, () => false);
console.log(JSON.stringify(await page.evaluate(read, [])));
await browser.close();
process.exit(came ? 0 : 1);

/** In the page: all tracks, once each of `wanted` was in one of them. */
function read(wanted) {
  if (window.vitrine?.hls) window.vitrine.hls.lowLatencyMode = false;
  const said = (window.said ??= new Map()); // what is behind the picture is forgotten by the player
  const tracks = [...(window.vitrine?.video.textTracks ?? [])].filter(({ kind }) => kind === "captions");
  for (const track of tracks) {
    if (track.mode === "disabled") track.mode = "hidden"; // a track that is off tells nothing
    const texts = said.get(track) ?? said.set(track, new Set()).get(track);
    for (const { text } of track.cues ?? []) texts.add(text);
  }
  const told = [...said].map(([{ label, language }, texts]) => ({ label, language, says: [...texts] }));
  const says = (text) => told.some((track) => track.says.some((words) => words.includes(text)));
  return wanted.every(says) && told;
}
